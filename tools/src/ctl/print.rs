//! What came of a command, for people and for scripts.

use super::{Exit, Failure, Said, Status};
use serde_json::{Value, json};
use std::fmt::Write as _;

impl Said {
    /// For people; ends with a line break, or is empty.
    pub(super) fn text(&self) -> String {
        match self {
            Said::Status(status) => status_text(status),
            Said::Users(users) => users.iter().map(|user| format!("{user}\n")).collect(),
            Said::Sessions(sessions) => {
                let width = sessions.iter().map(|session| session.jid.chars().count()).max().unwrap_or(0);
                let mut text = String::new();
                for session in sessions {
                    let priority = session.priority.map_or("-".to_owned(), |priority| priority.to_string());
                    let _ = writeln!(text, "{:width$}  {priority:>4}  {}", session.jid, session.edge);
                }
                text
            }
            Said::Account { account, what, password: None } => format!("{account}: {what}\n"),
            Said::Account { account, what, password: Some(password) } => {
                format!("{account}: {what}\npassword: {password}\n")
            }
            Said::Kicked { jid, sessions } => {
                format!("{jid}: {sessions} session{} ended\n", if *sessions == 1 { "" } else { "s" })
            }
        }
    }

    /// For scripts; one line.
    pub(super) fn json(&self) -> String {
        let value = match self {
            Said::Status(status) => serde_json::to_value(status).unwrap_or(Value::Null),
            Said::Users(users) => json!(users),
            Said::Sessions(sessions) => serde_json::to_value(sessions).unwrap_or(Value::Null),
            Said::Account { account, what, password: None } => json!({"account": account, "done": what}),
            Said::Account { account, what, password: Some(password) } => {
                json!({"account": account, "done": what, "password": password})
            }
            Said::Kicked { jid, sessions } => json!({"jid": jid, "kicked": sessions}),
        };
        format!("{value}\n")
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

fn status_text(status: &Status) -> String {
    let mut text = String::new();
    let mut row = |name: &str, value: String| {
        let _ = writeln!(text, "{name:16} {value}");
    };
    row("version", status.version.clone());
    row("up for", duration(status.uptime_s));
    row("domains", status.domains.join(", "));
    row("sessions", status.sessions.to_string());
    row("accounts in use", status.accounts_loaded.to_string());
    row("shards", status.shards.to_string());
    row("edges", format!("{} ({} links)", status.edges.join(", "), status.links));
    row("stanzas", format!("{} in, {} out", status.stanzas_in, status.stanzas_out));
    row("messages logged", status.messages_logged.to_string());
    row("storage", status.storage.clone());
    for domain in &status.log_off {
        row("warning", format!("{domain}: the log is off, messages can be lost"));
    }
    text
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

    #[test]
    fn durations() {
        for (seconds, text) in [(0, "0 s"), (61, "1 min 1 s"), (7261, "2 h 1 min"), (180_000, "2 d 2 h")] {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn a_log_that_is_off_is_said() {
        let status = Status { log_off: vec!["a.example".into()], ..Status::default() };
        assert!(Said::Status(status).text().contains("a.example: the log is off"));
    }
}
