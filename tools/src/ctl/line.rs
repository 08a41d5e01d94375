//! A command line's words as a command of the table with its parameters.

use super::{Exit, Failure, help};
use hearth_core::commands::{self, Command, GROUPS, Group, Kind, Need, Parameter};
use serde_json::{Map, Value as Json};

/// What the words come to.
#[derive(Debug)]
pub(super) enum Line {
    /// To be printed.
    Help(String),
    Run(Invocation),
}

/// A command, ready but for its secret.
#[derive(Debug)]
pub(super) struct Invocation {
    pub(super) command: &'static Command,
    pub(super) parameters: Map<String, Json>,
    /// Where the secret comes from, if the command needs one.
    pub(super) secret: SecretSource,
    /// `--yes`: do not ask.
    pub(super) yes: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum SecretSource {
    Prompt,
    Stdin,
    Generate,
}

/// How far words name a command.
pub(super) enum Found {
    Nothing,
    Group(&'static Group),
    /// And how many words that took.
    Command(&'static Command, usize),
}

pub(super) fn find(words: &[&str]) -> Found {
    let of = |command: &'static Command| {
        let name: Vec<&str> = command.name.split(' ').collect();
        words.starts_with(&name).then_some((command, name.len()))
    };
    match commands::all().filter_map(of).max_by_key(|(_, taken)| *taken) {
        Some((command, taken)) => Found::Command(command, taken),
        None => match words.first().and_then(|first| GROUPS.iter().find(|group| group.name == *first)) {
            Some(group) => Found::Group(group),
            None => Found::Nothing,
        },
    }
}

/// Reads the words behind the global options.
pub(super) fn parse(words: &[String]) -> Result<Line, Failure> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let asks = words.iter().take_while(|word| **word != "--").any(|word| ["--help", "-h", "help"].contains(word));
    // `hearthctl help user add` as well as `hearthctl user add --help`.
    let named: Vec<&str> =
        words.iter().copied().filter(|word| !asks || !["--help", "-h", "help"].contains(word)).collect();
    match find(&named) {
        Found::Command(command, _) if asks => Ok(Line::Help(help::command(command))),
        Found::Group(group) if asks => Ok(Line::Help(help::group(group))),
        Found::Nothing if asks && named.is_empty() => Ok(Line::Help(help::all())),
        Found::Command(command, taken) => invocation(command, named.get(taken..).unwrap_or_default()).map(Line::Run),
        Found::Group(group) => Err(unknown(&named, group.commands.iter().map(|command| command.name), group.name)),
        Found::Nothing => Err(unknown(&named, GROUPS.iter().map(|group| group.name), "")),
    }
}

/// Says what may have been meant by words that are no command.
fn unknown(words: &[&str], known: impl Iterator<Item = &'static str> + Clone, group: &str) -> Failure {
    let levels = if group.is_empty() { 1 } else { 2 };
    let typed = words.get(..levels.min(words.len())).unwrap_or_default().join(" ");
    let see = format!("see hearthctl {group} --help").replace("  ", " ");
    if words.len() < levels {
        let which: Vec<&str> = known.map(|name| name.strip_prefix(group).unwrap_or(name).trim_start()).collect();
        return Failure::new(Exit::Usage, format!("which command? There is {}", which.join(", ")), see);
    }
    let everywhere = commands::all().map(|command| command.name);
    let near = commands::nearest(&typed, known).or_else(|| commands::nearest(&words.join(" "), everywhere));
    let next = near.map_or(see, |near| format!("it may be `hearthctl {near}`"));
    Failure::new(Exit::Usage, format!("there is no command `{typed}`"), next)
}

/// The parameters of a command from the words behind its name.
fn invocation(command: &'static Command, words: &[&str]) -> Result<Invocation, Failure> {
    let mut line = Invocation { command, parameters: Map::new(), secret: SecretSource::Prompt, yes: false };
    let placed = |p: &&Parameter| matches!(p.need, Need::Required | Need::Optional) && p.kind != Kind::Secret;
    let mut places = command.parameters.iter().filter(placed);
    let mut words = words.iter().copied();
    let mut only_places = false;
    while let Some(word) = words.next() {
        if word == "--" && !only_places {
            only_places = true;
            continue;
        }
        let option = word.strip_prefix("--").filter(|name| !name.is_empty() && !only_places);
        if let Some(option) = option {
            let (name, value) = option.split_once('=').map_or((option, None), |(name, value)| (name, Some(value)));
            line.option(name, value, &mut words)?;
            continue;
        }
        let Some(parameter) = places.next() else {
            return Err(wrong(command, format!("`{}` takes no more than that: {word}", command.name)));
        };
        line.parameters.insert(parameter.name.to_owned(), value(command, parameter, word)?);
    }
    match places.find(|parameter| parameter.need == Need::Required) {
        Some(missing) => {
            Err(wrong(command, format!("`{}` needs {}: {}", command.name, help::place(missing), missing.help)))
        }
        None => Ok(line),
    }
}

impl Invocation {
    /// The command's secret parameter.
    pub(super) fn secret_parameter(&self) -> Option<&'static Parameter> {
        self.command.parameters.iter().find(|parameter| parameter.kind == Kind::Secret)
    }

    fn option<'a>(
        &mut self,
        name: &str,
        given: Option<&'a str>,
        words: &mut impl Iterator<Item = &'a str>,
    ) -> Result<(), Failure> {
        let command = self.command;
        let secret = self.secret_parameter().map(|parameter| parameter.name);
        if secret.is_some_and(|secret| name.strip_suffix("-stdin") == Some(secret)) {
            return self.secret_from(SecretSource::Stdin);
        }
        if secret.is_some() && name == "generate" {
            return self.secret_from(SecretSource::Generate);
        }
        if command.confirm.is_some() && name == "yes" {
            self.yes = true;
            return Ok(());
        }
        let is = |p: &&Parameter| help::option(p) == name && matches!(p.need, Need::Option | Need::Many);
        let Some(parameter) = command.parameters.iter().find(is) else {
            return Err(unknown_option(command, name));
        };
        if parameter.kind == Kind::Switch {
            self.parameters.insert(parameter.name.to_owned(), Json::Bool(true));
            return Ok(());
        }
        let Some(given) = given.or_else(|| words.next()) else {
            return Err(wrong(command, format!("--{name} needs a value: {}", parameter.help)));
        };
        let value = value(command, parameter, given)?;
        if parameter.need == Need::Many {
            match self.parameters.entry(parameter.name).or_insert_with(|| Json::Array(Vec::new())) {
                Json::Array(values) => values.push(value),
                other => *other = value,
            }
        } else {
            self.parameters.insert(parameter.name.to_owned(), value);
        }
        Ok(())
    }

    fn secret_from(&mut self, source: SecretSource) -> Result<(), Failure> {
        if self.secret != SecretSource::Prompt && self.secret != source {
            let message = "a password from standard input and a made one together: which of them?";
            return Err(Failure::new(Exit::Usage, message, "leave one of the two options out"));
        }
        self.secret = source;
        Ok(())
    }
}

/// A word as a value; the core checks it.
fn value(command: &Command, parameter: &Parameter, word: &str) -> Result<Json, Failure> {
    if !matches!(parameter.kind, Kind::Number { .. }) {
        return Ok(Json::from(word));
    }
    let number = word
        .parse::<u64>()
        .map_err(|_| wrong(command, format!("{}: {word:?} is not a number", help::place(parameter))))?;
    Ok(Json::from(number))
}

fn unknown_option(command: &Command, name: &str) -> Failure {
    let known = help::options(command);
    let message = format!("`{}` has no option --{name}", command.name);
    match commands::nearest(name, known.iter().map(|(name, _)| name.trim_start_matches("--"))) {
        Some(near) => Failure::new(Exit::Usage, message, format!("it may be --{near}")),
        None => wrong(command, message),
    }
}

fn wrong(command: &Command, message: String) -> Failure {
    Failure::new(Exit::Usage, message, format!("see hearthctl {} --help", command.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Result<Line, Failure> {
        parse(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    fn run(text: &str) -> Invocation {
        match line(text) {
            Ok(Line::Run(invocation)) => invocation,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn words_become_parameters() {
        let add = run("user add ada --generate");
        assert_eq!((add.command.name, add.secret), ("user add", SecretSource::Generate));
        assert_eq!(Json::from(add.parameters), serde_json::json!({"account": "ada"}));
        assert!(run("user delete --yes ada").yes);
        for text in ["sessions list --limit 20 ada", "sessions list ada --limit=20"] {
            assert_eq!(Json::from(run(text).parameters), serde_json::json!({"account": "ada", "limit": 20}));
        }
        assert_eq!(Json::from(run("user add -- --help").parameters), serde_json::json!({"account": "--help"}));
    }

    #[test]
    fn help_at_every_level() {
        for text in ["--help", "help", "-h", "user --help", "help user", "user add --help", "user add ada --help"] {
            let Ok(Line::Help(help)) = line(text) else { panic!("{text}") };
            assert!(help.contains("Usage: hearthctl") && help.contains("xample"), "{text}: {help}");
        }
    }

    #[test]
    fn nonsense_is_told_what_it_may_be() {
        for (text, next) in [
            ("", "see hearthctl --help"),
            ("frobnicate", "see hearthctl --help"),
            ("users list", "`hearthctl user`"),
            ("usr", "`hearthctl user`"),
            ("user", "see hearthctl user --help"),
            ("user dad ada", "`hearthctl user add`"),
            ("user add", "see hearthctl user add --help"),
            ("user add a b", "see hearthctl user add --help"),
            ("user add a --genrate", "--generate"),
            ("user add a --password-stdin --generate", "leave one"),
            ("user add a --yes", "see hearthctl user add --help"),
            ("sessions list --limit", "see hearthctl sessions list --help"),
            ("sessions list --limit many", "see hearthctl sessions list --help"),
            ("status --frob", "see hearthctl status --help"),
        ] {
            let failure = line(text).map(|_| ()).unwrap_err();
            assert_eq!(failure.exit, Exit::Usage, "{text}");
            assert!(failure.next.contains(next), "{text}: {failure}");
        }
    }
}
