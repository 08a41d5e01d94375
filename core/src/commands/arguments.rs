//! A command's arguments: checked once where they come in, typed from there on.

use super::{Command, Kind, Need, Parameter, Refused, RefusedKind, nearest};
use crate::{config, limits};
use hearth_wire::jid::prepare_domainpart;
use hearth_wire::{BareJid, Jid};
use serde_json::{Map, Value as Json};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// A checked value.
#[derive(Clone, PartialEq, Eq)]
pub enum Value {
    Account(BareJid),
    Jid(Jid),
    Text(String),
    /// Shown nowhere.
    Secret(String),
    Number(u64),
    Switch(bool),
    Many(Vec<Value>),
    /// What the configuration says of a domain.
    Configured(Arc<config::Domain>),
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Secret(_) => f.write_str("(secret)"),
            other => write!(f, "{}", other.json()),
        }
    }
}

impl Value {
    /// As it may be shown: a secret is `null`.
    fn json(&self) -> Json {
        match self {
            Value::Account(jid) => Json::from(jid.as_str()),
            Value::Jid(jid) => Json::from(jid.as_str()),
            Value::Text(text) => Json::from(text.as_str()),
            Value::Secret(_) => Json::Null,
            Value::Number(number) => Json::from(*number),
            Value::Switch(on) => Json::from(*on),
            Value::Many(values) => values.iter().map(Value::json).collect(),
            Value::Configured(domain) => Json::from(domain.name.as_str()),
        }
    }
}

/// The arguments of one call, by name.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Arguments {
    values: Vec<(&'static str, Value)>,
    /// Of a list that comes in pages: where the page before ended.
    pub after: Option<String>,
}

impl Arguments {
    /// Checks what came against the command's parameters.
    pub fn parse(command: &'static Command, given: &Map<String, Json>) -> Result<Arguments, Refused> {
        if let Some(unknown) = given.keys().find(|name| command.parameter(name).is_none()) {
            let known: Vec<&str> = command.parameters.iter().map(|parameter| parameter.name).collect();
            let next = match (nearest(unknown, known.iter().copied()), known.is_empty()) {
                (Some(near), _) => format!("it may be {near}"),
                (None, true) => "leave it out: there are no parameters".to_owned(),
                (None, false) => format!("the parameters are {}", known.join(", ")),
            };
            let message = format!("`{}` has no parameter {unknown}", command.name);
            return Err(Refused::new(RefusedKind::BadRequest, message, next));
        }
        let mut values = Vec::with_capacity(given.len());
        for parameter in command.parameters {
            match (given.get(parameter.name), parameter.need) {
                (None | Some(Json::Null), Need::Required) => {
                    let message = format!("`{}` needs {}", command.name, parameter.name);
                    let next = format!("give it: {}; see `hearthctl {} --help`", parameter.help, command.name);
                    return Err(Refused::new(RefusedKind::BadRequest, message, next));
                }
                (None | Some(Json::Null), _) => {}
                (Some(value), need) => values.push((parameter.name, check(parameter, need, value)?)),
            }
        }
        Ok(Arguments { values, after: None })
    }

    /// Made by a command for a part of its work.
    pub fn made(values: Vec<(&'static str, Value)>) -> Arguments {
        Arguments { values, after: None }
    }

    /// As they may be shown: without secrets.
    pub fn shown(&self) -> Map<String, Json> {
        let shown = self.values.iter().filter(|(_, value)| !matches!(value, Value::Secret(_)));
        shown.map(|(name, value)| ((*name).to_owned(), value.json())).collect()
    }

    /// The value of a parameter, if it was given.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.values.iter().find(|(given, _)| *given == name).map(|(_, value)| value)
    }

    /// A required account.
    pub fn account(&self, name: &str) -> Result<BareJid, Refused> {
        match self.get(name) {
            Some(Value::Account(jid)) => Ok(jid.clone()),
            _ => Err(missing(name)),
        }
    }

    /// A required address.
    pub fn jid(&self, name: &str) -> Result<Jid, Refused> {
        match self.get(name) {
            Some(Value::Jid(jid)) => Ok(jid.clone()),
            _ => Err(missing(name)),
        }
    }

    /// A required text, domain or choice.
    pub fn text(&self, name: &str) -> Result<&str, Refused> {
        self.text_if(name).ok_or_else(|| missing(name))
    }

    /// A text, domain or choice that may be left out.
    pub fn text_if(&self, name: &str) -> Option<&str> {
        match self.get(name) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// A required secret.
    pub fn secret(&self, name: &str) -> Result<&str, Refused> {
        match self.get(name) {
            Some(Value::Secret(text)) => Ok(text),
            _ => Err(missing(name)),
        }
    }

    /// What the configuration says of a domain.
    pub(crate) fn configured(&self, name: &str) -> Result<Arc<config::Domain>, Refused> {
        match self.get(name) {
            Some(Value::Configured(domain)) => Ok(domain.clone()),
            _ => Err(missing(name)),
        }
    }

    /// A number, or what holds if it was left out.
    pub fn number_or(&self, name: &str, default: u64) -> u64 {
        match self.get(name) {
            Some(Value::Number(number)) => *number,
            _ => default,
        }
    }

    /// Whether a switch was given.
    pub fn switch(&self, name: &str) -> bool {
        matches!(self.get(name), Some(Value::Switch(true)))
    }

    /// The texts of a parameter that may be repeated.
    pub fn texts(&self, name: &str) -> Vec<&str> {
        let Some(Value::Many(values)) = self.get(name) else { return Vec::new() };
        values
            .iter()
            .filter_map(|value| if let Value::Text(text) = value { Some(text.as_str()) } else { None })
            .collect()
    }

    /// The bare address by which a shard is found.
    pub fn owner_key(&self, name: &str) -> Option<BareJid> {
        match self.get(name)? {
            Value::Account(jid) => Some(jid.clone()),
            Value::Jid(jid) => Some(jid.bare()),
            _ => None,
        }
    }
}

pub(crate) fn missing(name: &str) -> Refused {
    Refused::new(RefusedKind::BadRequest, format!("{name} is missing"), "give it; see --help")
}

fn check(parameter: &Parameter, need: Need, given: &Json) -> Result<Value, Refused> {
    if need != Need::Many {
        return check_one(parameter, given);
    }
    let Json::Array(values) = given else { return Err(wrong(parameter, "expected a list")) };
    if values.len() > limits::COMMAND_MANY_MAX {
        return Err(wrong(parameter, &format!("expected at most {}", limits::COMMAND_MANY_MAX)));
    }
    values.iter().map(|value| check_one(parameter, value)).collect::<Result<_, _>>().map(Value::Many)
}

fn check_one(parameter: &Parameter, given: &Json) -> Result<Value, Refused> {
    match parameter.kind {
        Kind::Number { min, max } => match given.as_u64().filter(|number| (min..=max).contains(number)) {
            Some(number) => Ok(Value::Number(number)),
            None => Err(wrong(parameter, &format!("expected a number from {min} to {max}"))),
        },
        Kind::Switch => given.as_bool().map(Value::Switch).ok_or_else(|| wrong(parameter, "expected true or false")),
        Kind::OutFile => Err(wrong(parameter, "it stays with hearthctl")),
        Kind::Account | Kind::Jid | Kind::Domain | Kind::Text | Kind::Secret | Kind::Folder | Kind::Choice(_) => {
            let text = given.as_str().ok_or_else(|| wrong(parameter, "expected text"))?;
            check_text(parameter, text)
        }
    }
}

fn check_text(parameter: &Parameter, text: &str) -> Result<Value, Refused> {
    if text.len() > limits::COMMAND_TEXT_BYTES_MAX {
        return Err(wrong(parameter, &format!("expected at most {} bytes", limits::COMMAND_TEXT_BYTES_MAX)));
    }
    let not = |what: &str, next: &str| Refused::new(RefusedKind::BadRequest, format!("{text:?} is not {what}"), next);
    match parameter.kind {
        Kind::Account => {
            let jid = BareJid::parse(text).ok().filter(|jid| jid.localpart().is_some());
            jid.map(Value::Account).ok_or_else(|| not("an account address", "write it as name@domain"))
        }
        Kind::Jid => {
            let next = "write name@domain or name@domain/resource";
            Jid::parse(text).map(Value::Jid).map_err(|_| not("an address", next))
        }
        Kind::Domain => {
            let domain = prepare_domainpart(text).map_err(|_| not("a domain", "write it as chat.example.org"))?;
            Ok(Value::Text(domain.to_string()))
        }
        Kind::Choice(words) if words.contains(&text) => Ok(Value::Text(text.to_owned())),
        Kind::Choice(words) => Err(wrong(parameter, &format!("expected one of {}", words.join(", ")))),
        Kind::Secret => Ok(Value::Secret(text.to_owned())),
        Kind::Folder if !Path::new(text).is_absolute() => Err(not("an absolute path", "begin it with /")),
        Kind::Text | Kind::Folder if text.chars().any(char::is_control) => {
            Err(wrong(parameter, "it has control characters"))
        }
        Kind::Text | Kind::Folder | Kind::Number { .. } | Kind::Switch | Kind::OutFile => {
            Ok(Value::Text(text.to_owned()))
        }
    }
}

/// Never shows the value: it may be a secret that was put in the wrong place.
fn wrong(parameter: &Parameter, why: &str) -> Refused {
    Refused::new(RefusedKind::BadRequest, format!("{}: {why}", parameter.name), parameter.help)
}

#[cfg(test)]
mod tests {
    use super::super::{Command, find};
    use super::*;
    use serde_json::json;

    fn parse(command: &'static Command, given: &Json) -> Result<Arguments, Refused> {
        Arguments::parse(command, given.as_object().unwrap())
    }

    #[test]
    fn values_are_checked_and_prepared() {
        static SOUGHT: Command = Command {
            name: "seek",
            parameters: &[
                Parameter::required("account", Kind::Account, "whom"),
                Parameter::optional("domain", Kind::Domain, "where"),
                Parameter::option("limit", Kind::Number { min: 1, max: 9 }, "how many"),
                Parameter::option("all", Kind::Switch, "all of them"),
                Parameter::many("group", Kind::Text, "in which groups"),
                Parameter::option("level", Kind::Choice(&["low", "high"]), "how"),
                Parameter::option("dir", Kind::Folder, "into what"),
            ],
            ..Command::BASE
        };
        let good = json!({"account": "Ada@Example.ORG", "domain": "EXAMPLE.net", "limit": 9, "all": true,
            "group": ["a", "b"], "level": "low", "dir": "/backups/monday"});
        let good = parse(&SOUGHT, &good).unwrap();
        assert_eq!(good.account("account").unwrap().as_str(), "ada@example.org");
        assert_eq!((good.text("domain"), good.number_or("limit", 0)), (Ok("example.net"), 9));
        assert_eq!(good.text("dir"), Ok("/backups/monday"));
        assert_eq!((good.switch("all"), good.texts("group")), (true, vec!["a", "b"]));
        for (wrong, says) in [
            (json!({}), "needs account"),
            (json!({"account": "example.org"}), "is not an account"),
            (json!({"account": 7}), "expected text"),
            (json!({"account": "a@b", "limit": 10}), "from 1 to 9"),
            (json!({"account": "a@b", "limit": "9"}), "from 1 to 9"),
            (json!({"account": "a@b", "all": "yes"}), "true or false"),
            (json!({"account": "a@b", "group": "a"}), "a list"),
            (json!({"account": "a@b", "group": ["a\nb"]}), "control characters"),
            (json!({"account": "a@b", "group": ["x".repeat(limits::COMMAND_TEXT_BYTES_MAX + 1)]}), "at most"),
            (json!({"account": "a@b", "level": "middle"}), "low, high"),
            (json!({"account": "a@b", "dir": "backups/monday"}), "an absolute path"),
            (json!({"account": "a@b", "limits": 1}), "no parameter limits"),
        ] {
            let refused = parse(&SOUGHT, &wrong).unwrap_err();
            assert!(refused.message.contains(says) && !refused.next.is_empty(), "{wrong}: {refused:?}");
        }
    }

    #[test]
    fn secrets_are_shown_nowhere() {
        let command = find("user add").unwrap();
        let arguments = parse(command, &json!({"account": "ada@example.org", "password": "correct horse"})).unwrap();
        assert_eq!(arguments.secret("password"), Ok("correct horse"));
        assert_eq!(Json::from(arguments.shown()), json!({"account": "ada@example.org"}));
        assert!(!format!("{arguments:?}").contains("horse"));
        let wrong = parse(command, &json!({"account": "a@b", "password": "x".repeat(70_000)})).unwrap_err();
        assert!(!format!("{wrong:?}").contains("xx"), "{wrong:?}");
    }
}
