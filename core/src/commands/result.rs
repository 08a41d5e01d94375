//! What a command comes to: typed by the table, so that every way of showing it is written once.

use crate::limits;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

/// The answer to a command.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    Ok(Done),
    Error(Refused),
}

impl From<Result<Done, Refused>> for Reply {
    fn from(result: Result<Done, Refused>) -> Reply {
        match result {
            Ok(done) => Reply::Ok(done),
            Err(refused) => Reply::Error(refused),
        }
    }
}

/// How far a command is that takes longer, before it is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// Bytes.
    pub done: u64,
    pub total: u64,
}

/// What a command did or found.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Done {
    /// Something was done to something.
    Did(Did),
    /// One thing, field by field.
    Record(Map<String, Json>),
    /// Many things, field by field.
    Rows(Rows),
}

/// "ada@example.org: added".
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Did {
    pub subject: String,
    /// In one or two words.
    pub what: String,
    /// Figures for scripts; people have them in `what`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub details: Map<String, Json>,
    /// What to do next, line by line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub next: Vec<String>,
    /// What `hearthctl` writes for its user alone. It is not shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<File>,
}

/// A file made by a command.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Unless the command line names another.
    pub name: String,
    pub text: String,
}

/// Stands in [`Did::next`] for the path that was written.
pub const FILE: &str = "{file}";

/// One page of a list.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rows {
    pub rows: Vec<Map<String, Json>>,
    /// There may be more: ask again with this as `after`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl Done {
    /// Something was done to something.
    pub fn did(subject: impl Into<String>, what: impl Into<String>) -> Done {
        Done::Did(Did { subject: subject.into(), what: what.into(), details: Map::new(), next: Vec::new(), file: None })
    }

    /// A list that is whole.
    pub fn rows(rows: Vec<Map<String, Json>>) -> Done {
        Done::Rows(Rows { rows, next: None })
    }
}

/// What a command comes to, and how it is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// [`Done::Did`]; scripts find the subject under this name.
    Did(&'static str),
    /// [`Done::Record`] of these fields.
    Record(&'static [Field]),
    /// [`Done::Rows`] of these fields.
    Rows(&'static [Field]),
}

/// One field of a record or a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Field {
    /// For scripts.
    pub name: &'static str,
    /// For people.
    pub label: &'static str,
    pub look: Look,
    pub add: Add,
}

/// How a field is shown to people.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Look {
    /// As it is; a list with commas.
    Plain,
    /// Left out if it is nothing: null, false, empty.
    IfAny,
    /// Seconds, as days, hours and minutes.
    Duration,
    /// Milliseconds since 1970 as UTC (RFC 3339).
    Time,
    /// As `Time`, left out if it is null.
    TimeIfAny,
    /// An object as `name=value`, without what is null.
    Pairs,
}

/// How a field of a record that every shard answers adds up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Add {
    /// The same everywhere.
    First,
    Sum,
    /// Of lists, sorted.
    Union,
    /// The first that is not `ok` or nothing.
    Worst,
}

impl Field {
    pub const fn new(name: &'static str, label: &'static str) -> Field {
        Field { name, label, look: Look::Plain, add: Add::First }
    }

    pub const fn look(self, look: Look) -> Field {
        Field { look, ..self }
    }

    pub const fn add(self, add: Add) -> Field {
        Field { add, ..self }
    }
}

impl Shape {
    /// Answers of two shards as one.
    pub fn add(&self, a: Done, b: Done) -> Done {
        match (self, a, b) {
            (Shape::Record(fields), Done::Record(mut a), Done::Record(b)) => {
                for field in *fields {
                    let (left, right) = (a.remove(field.name), b.get(field.name).cloned());
                    if let Some(total) = add_field(field.add, left, right) {
                        a.insert(field.name.to_owned(), total);
                    }
                }
                Done::Record(a)
            }
            (Shape::Rows(fields), Done::Rows(mut a), Done::Rows(b)) => {
                a.rows.extend(b.rows);
                let key = fields.first().map_or("", |field| field.name);
                a.rows.sort_by(|a, b| text(a, key).cmp(text(b, key)));
                a.rows.truncate(limits::COMMAND_ROWS_MAX);
                Done::Rows(a)
            }
            (Shape::Did(_), Done::Did(mut a), Done::Did(b)) => {
                for (name, value) in b.details {
                    let total = add_field(Add::Sum, a.details.remove(&name), Some(value));
                    a.details.insert(name, total.unwrap_or(Json::Null));
                }
                Done::Did(a)
            }
            (_, a, _) => a,
        }
    }
}

fn text<'a>(row: &'a Map<String, Json>, key: &str) -> &'a str {
    row.get(key).and_then(Json::as_str).unwrap_or_default()
}

fn add_field(add: Add, a: Option<Json>, b: Option<Json>) -> Option<Json> {
    let (a, b) = match (a, b) {
        (Some(a), Some(b)) => (a, b),
        (a, b) => return a.or(b),
    };
    Some(match (add, a, b) {
        (Add::Sum, Json::Number(a), Json::Number(b)) => {
            Json::from(a.as_u64().unwrap_or(0).saturating_add(b.as_u64().unwrap_or(0)))
        }
        (Add::Union, Json::Array(mut a), Json::Array(b)) => {
            a.extend(b);
            a.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
            a.dedup();
            Json::Array(a)
        }
        (Add::Worst, a, b) => {
            if a == "ok" || a.is_null() {
                b
            } else {
                a
            }
        }
        (_, a, _) => a,
    })
}

/// Why a command did nothing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refused {
    pub kind: RefusedKind,
    pub message: String,
    /// What to do about it.
    pub next: String,
}

impl Refused {
    pub fn new(kind: RefusedKind, message: impl Into<String>, next: impl Into<String>) -> Refused {
        Refused { kind, message: message.into(), next: next.into() }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusedKind {
    BadRequest,
    Exists,
    NotFound,
    Unavailable,
}

impl RefusedKind {
    /// As in JSON and in the audit log.
    pub const fn name(self) -> &'static str {
        match self {
            RefusedKind::BadRequest => "bad_request",
            RefusedKind::Exists => "exists",
            RefusedKind::NotFound => "not_found",
            RefusedKind::Unavailable => "unavailable",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn map(value: Json) -> Map<String, Json> {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn answers_of_shards_add_up() {
        const FIELDS: &[Field] = &[
            Field::new("version", "version"),
            Field::new("sessions", "sessions").add(Add::Sum),
            Field::new("edges", "edges").add(Add::Union),
            Field::new("storage", "storage").add(Add::Worst),
            Field::new("storage_next", "what to do").add(Add::Worst),
        ];
        let record = |sessions: u64, edges: &[&str], storage: &str| {
            let next = (storage != "ok").then_some("make room");
            let record = json!({"sessions": sessions, "edges": edges, "storage": storage, "storage_next": next});
            Done::Record(map(record))
        };
        let shape = Shape::Record(FIELDS);
        assert_eq!(shape.add(record(1, &["b", "a"], "ok"), record(2, &["b"], "full")), record(3, &["a", "b"], "full"));
        assert_eq!(shape.add(record(1, &[], "full"), record(2, &[], "ok")), record(3, &[], "full"));
        let rows = |names: &[&str]| Done::rows(names.iter().map(|name| map(json!({"jid": name}))).collect());
        let shape = Shape::Rows(const { &[Field::new("jid", "address")] });
        assert_eq!(shape.add(rows(&["c"]), rows(&["d", "a"])), rows(&["a", "c", "d"]));
    }

    #[test]
    fn replies_read_back() {
        let mut did = Did {
            subject: "a@b".into(),
            what: "added".into(),
            details: Map::new(),
            next: vec!["x".into()],
            file: None,
        };
        did.details.insert("sessions".into(), json!(1));
        for reply in [
            Reply::Ok(Done::Did(did)),
            Reply::Ok(Done::Rows(Rows { rows: vec![map(json!({"a": 1}))], next: Some("a".into()) })),
            Reply::Error(Refused::new(RefusedKind::NotFound, "m", "n")),
        ] {
            let text = serde_json::to_string(&reply).unwrap();
            assert_eq!(serde_json::from_str::<Reply>(&text).unwrap(), reply, "{text}");
        }
        assert_eq!(serde_json::to_value(RefusedKind::BadRequest).unwrap(), RefusedKind::BadRequest.name());
    }
}
