//! What came of a command, for people and for scripts, by the shape that the table gives it.

use super::{Exit, Failure};
use hearth_core::commands::{Command, Did, Field, Look, Shape};
use serde_json::{Map, Value as Json, json};
use std::fmt::Write as _;
use std::io::{self, Write};

/// Something was done. `made` is a password made here, which must be shown.
pub(super) fn did(command: &Command, did: &Did, made: Option<&str>, as_json: bool) -> String {
    if as_json {
        let name = if let Shape::Did(name) = command.result { name } else { "subject" };
        let mut all = Map::from_iter([(name.to_owned(), json!(did.subject)), ("done".to_owned(), json!(did.what))]);
        all.extend(did.details.clone());
        all.extend(made.map(|made| ("password".to_owned(), json!(made))));
        all.extend((!did.next.is_empty()).then(|| ("next".to_owned(), json!(did.next))));
        return format!("{}\n", Json::from(all));
    }
    let mut text = format!("{}: {}\n", did.subject, did.what);
    if let Some(made) = made {
        let _ = writeln!(text, "password: {made}");
    }
    for next in &did.next {
        let _ = writeln!(text, "  next: {next}");
    }
    text
}

/// One thing, a field on each line.
pub(super) fn record(fields: &[Field], record: &Map<String, Json>, as_json: bool) -> String {
    if as_json {
        return format!("{}\n", Json::from(record.clone()));
    }
    let width = fields.iter().map(|field| field.label.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for field in fields {
        let value = record.get(field.name).unwrap_or(&Json::Null);
        if !matches!(field.look, Look::IfAny | Look::TimeIfAny) || !nothing(value) {
            let _ = writeln!(text, "{:width$}  {}", field.label, shown(field.look, value));
        }
    }
    text
}

/// Prints a list page by page: nobody has to wait for, or hold, the whole of it.
pub(super) struct Table {
    fields: &'static [Field],
    as_json: bool,
    widths: Vec<usize>,
    rows: usize,
}

impl Table {
    pub(super) fn new(fields: &'static [Field], as_json: bool) -> Table {
        Table { fields, as_json, widths: Vec::new(), rows: 0 }
    }

    /// One page.
    pub(super) fn page(&mut self, rows: &[Map<String, Json>], out: &mut dyn Write) -> io::Result<()> {
        if self.as_json {
            for row in rows {
                write!(out, "{}{}", if self.rows == 0 { '[' } else { ',' }, Json::from(row.clone()))?;
                self.rows = self.rows.saturating_add(1);
            }
            return Ok(());
        }
        let cell =
            |row: &Map<String, Json>, field: &Field| shown(field.look, row.get(field.name).unwrap_or(&Json::Null));
        let mut lines: Vec<Vec<String>> =
            rows.iter().map(|row| self.fields.iter().map(|field| cell(row, field)).collect()).collect();
        // One column says itself what it is.
        if self.rows == 0 && self.fields.len() > 1 && !rows.is_empty() {
            lines.insert(0, self.fields.iter().map(|field| field.label.to_uppercase()).collect());
        }
        self.rows = self.rows.saturating_add(rows.len());
        self.widths.resize(self.fields.len(), 0);
        for line in &lines {
            for (width, cell) in self.widths.iter_mut().zip(line) {
                *width = (*width).max(cell.chars().count());
            }
        }
        for line in &lines {
            let cells: Vec<String> =
                line.iter().zip(&self.widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            writeln!(out, "{}", cells.join("  ").trim_end())?;
        }
        Ok(())
    }

    /// What stands behind the last page.
    pub(super) fn end(&self, out: &mut dyn Write) -> io::Result<()> {
        match (self.as_json, self.rows) {
            (true, 0) => writeln!(out, "[]"),
            (true, _) => writeln!(out, "]"),
            (false, _) => Ok(()),
        }
    }
}

/// `{"error":{"kind":…,"message":…,"next":…}}`.
pub(super) fn failure_json(failure: &Failure) -> String {
    let kind = match failure.exit {
        Exit::Done | Exit::Failed => "failed",
        Exit::Usage => "usage",
        Exit::Unreachable => "unreachable",
        Exit::Exists => "exists",
        Exit::NotFound => "not_found",
        Exit::BadRequest => "bad_request",
        Exit::Unavailable => "unavailable",
    };
    json!({"error": {"kind": kind, "message": failure.message, "next": failure.next}}).to_string()
}

fn nothing(value: &Json) -> bool {
    match value {
        Json::Null | Json::Bool(false) => true,
        Json::Array(values) => values.is_empty(),
        Json::String(text) => text.is_empty(),
        Json::Bool(true) | Json::Number(_) | Json::Object(_) => false,
    }
}

/// A value for people. Control characters of somebody else's text do not reach the terminal.
fn shown(look: Look, value: &Json) -> String {
    match (look, value) {
        (Look::Duration, Json::Number(seconds)) => duration(seconds.as_u64().unwrap_or(0)),
        (Look::Time | Look::TimeIfAny, Json::Number(ms)) => hearth_wire::date_time::text(ms.as_u64().unwrap_or(0)),
        (Look::Pairs, Json::Object(pairs)) => {
            let there = pairs.iter().filter(|(_, value)| !value.is_null());
            there.map(|(name, value)| format!("{name}={}", shown(look, value))).collect::<Vec<_>>().join(" ")
        }
        (_, Json::Null) => "-".to_owned(),
        (_, Json::Bool(yes)) => if *yes { "yes" } else { "no" }.to_owned(),
        (_, Json::String(text)) => {
            let safe = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
            text.chars().map(safe).collect()
        }
        (_, Json::Array(values)) if values.is_empty() => "-".to_owned(),
        (_, Json::Array(values)) => values.iter().map(|value| shown(look, value)).collect::<Vec<_>>().join(", "),
        (_, Json::Number(_) | Json::Object(_)) => value.to_string(),
    }
}

fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(value: &Json) -> Map<String, Json> {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn durations() {
        for (seconds, text) in [(0, "0 s"), (61, "1 min 1 s"), (7261, "2 h 1 min"), (180_000, "2 d 2 h")] {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn a_record_shows_what_there_is() {
        const FIELDS: &[Field] = &[Field::new("storage", "storage"), Field::new("log_off", "no log").look(Look::IfAny)];
        let with = |log_off: &[&str]| record(FIELDS, &map(&json!({"storage": "ok", "log_off": log_off})), false);
        assert_eq!(with(&[]), "storage  ok\n");
        assert_eq!(with(&["a.example", "b.example"]), "storage  ok\nno log   a.example, b.example\n");
    }

    #[test]
    fn lists_come_in_pages() {
        const FIELDS: &[Field] = &[Field::new("jid", "address"), Field::new("priority", "priority")];
        let rows = |jids: &[&str]| -> Vec<_> { jids.iter().map(|jid| map(&json!({"jid": jid}))).collect() };
        let print = |fields: &'static [Field], as_json: bool| {
            let (mut out, mut table) = (Vec::new(), Table::new(fields, as_json));
            table.page(&rows(&["ada@a", "b\u{1b}[2J"]), &mut out).unwrap();
            table.page(&rows(&["c@c"]), &mut out).unwrap();
            table.end(&mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(print(FIELDS, false), "ADDRESS  PRIORITY\nada@a    -\nb\u{fffd}[2J    -\nc@c      -\n");
        assert_eq!(print(&FIELDS[..1], false), "ada@a\nb\u{fffd}[2J\nc@c\n");
        assert_eq!(serde_json::from_str::<Json>(&print(FIELDS, true)).unwrap().as_array().map(Vec::len), Some(3));
    }

    #[test]
    fn what_was_done_for_people_and_scripts() {
        let add = hearth_core::commands::find("user add").unwrap();
        let done = Did {
            subject: "a@b".into(),
            what: "added".into(),
            details: Map::new(),
            next: vec!["x".into()],
            file: None,
        };
        assert_eq!(did(add, &done, Some("pw"), false), "a@b: added\npassword: pw\n  next: x\n");
        let json: Json = serde_json::from_str(&did(add, &done, Some("pw"), true)).unwrap();
        assert_eq!(json, json!({"account": "a@b", "done": "added", "password": "pw", "next": ["x"]}));
    }
}
