//! RFC 6121 §8.5: a stanza of each kind and type, by what its recipient has and how it is addressed.

use super::{Case, account, rows};
use hearth_storage::{Change, RosterItem, Subscription};
use hearth_wire::BareJid;
use std::fmt::Write;

const UNAVAILABLE: &str = "<error type='cancel'><service-unavailable \
                           xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>";

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (table, cells) in rows("delivery.txt") {
        let (kind, types) = table.split_once(": ").expect("kind and types");
        let (types, _) = types.split_once(" (").expect("types and sections");
        let types: Vec<&str> = types.split(", ").collect();
        assert_eq!(types.len() + 2, cells.len(), "{table}: {cells:?}");
        for (ty, cell) in types.into_iter().zip(&cells[2..]) {
            let (does, allowed) = cell.split_once(" (").unwrap_or((cell, cell));
            assert!(allowed.contains(does) || (does, allowed) == ("A", "M/A)"), "{cell}");
            cases.push(case(cases.len(), kind, ty, [&cells[0], &cells[1]], does));
        }
    }
    cases
}

fn case(index: usize, kind: &str, ty: &str, [condition, address]: [&str; 2], does: &str) -> Case {
    let (sender, jid) = (account(&format!("sender{index}")), account(&format!("person{index}")));
    let name = format!("{kind} {ty}, {condition}, {address}: {does}");
    let to = match address {
        "bare" => jid.to_string(),
        "match" => format!("{jid}/one"),
        _ => format!("{jid}/gone"),
    };
    let mut accounts = vec![(sender.clone(), Vec::new())];
    if condition != "no account" {
        accounts.push((jid.clone(), Vec::new()));
    }
    if condition == "subscribed" {
        let item = RosterItem {
            contact: sender.as_str().into(),
            name: None,
            groups: Vec::new(),
            subscription: Subscription::From,
            ask: false,
            approved: false,
        };
        accounts[1].1.push(Change::PutRosterItem { account: jid.clone(), item });
    }
    let transcript = Row { name: &name, sender, jid, kind, ty, condition, to, does }.transcript();
    Case { name, transcript, accounts }
}

struct Row<'a> {
    name: &'a str,
    sender: BareJid,
    jid: BareJid,
    kind: &'a str,
    ty: &'a str,
    condition: &'a str,
    to: String,
    does: &'a str,
}

impl Row<'_> {
    fn transcript(&self) -> String {
        let Row { name, sender, jid, kind, condition, to, does, .. } = self;
        let sessions = match *condition {
            "no account" => String::new(),
            "nobody" => format!("person: {jid} (account)"),
            "connected" | "told" => format!("one: {jid}/one"),
            "negative" => format!("one: {jid}/one (priority=-1)"),
            "one" | "subscribed" => format!("one: {jid}/one (available)"),
            "several" => format!("one: {jid}/one (available)    two: {jid}/two (priority=7)"),
            other => panic!("{other}"),
        };
        let late = if *condition == "no account" { "" } else { "late" };
        let mut text = format!("# {name}\nsender: {sender}/desk\n{sessions}\n");
        if !late.is_empty() {
            let _ = writeln!(text, "late: {jid}/late (available, later)");
        }
        let mut line = |who: &str, what: &str| {
            let _ = writeln!(text, "{who} {what}");
        };
        if *condition == "told" {
            line("one", &format!("> <presence to='{sender}/desk'/>"));
            line("sender", &format!("< <presence from='{jid}/one'/>"));
        }
        let (attribute, payload) = self.type_and_payload();
        line("sender", &format!("> <{kind}{attribute} id='x' to='{to}'>{payload}</{kind}>"));
        let arrives = format!("<{kind}{attribute} id='x' from='{sender}/desk' to='{to}'>{payload}</{kind}>");
        match *does {
            "D" => line("one", &format!("< {arrives}")),
            "A" => {
                line("one", &format!("< {arrives}"));
                line("two", &format!("< {arrives}"));
            }
            "E" => line("sender", &format!("< <{kind} type='error' id='x' from='{to}'>{UNAVAILABLE}<*/></{kind}>")),
            _ => {}
        }
        if !late.is_empty() {
            self.whoever_comes_later(&arrives, &mut line);
        }
        text
    }

    /// Another resource logs in: it has what was stored, and nothing else.
    fn whoever_comes_later(&self, arrives: &str, line: &mut dyn FnMut(&str, &str)) {
        let Row { jid, condition, does, .. } = self;
        line("late", "+");
        let others: &[&str] = match *condition {
            "negative" | "one" | "subscribed" => &["one"],
            "several" => &["one", "two"],
            _ => &[],
        };
        for other in others {
            line(other, &format!("< <presence from='{jid}/late'/>"));
            line("late", &format!("~ <presence from='{jid}/{other}'><*/></presence>"));
        }
        if *does == "O" {
            // With its delay, unless the login was faster than the disk.
            let stored = arrives.replace("</message>", "<*/></message>");
            line("late", &format!("~ {stored}"));
        }
    }

    /// How the type is written, and something for such a stanza to carry.
    fn type_and_payload(&self) -> (String, &'static str) {
        let attribute = match self.ty {
            "normal" | "available" => String::new(),
            ty => format!(" type='{ty}'"),
        };
        let payload = match (self.kind, self.ty) {
            (_, "error") => UNAVAILABLE,
            ("message", _) => "<body>hello</body>",
            ("iq", "get" | "set") => "<query xmlns='urn:example:question'/>",
            _ => "",
        };
        (attribute, payload)
    }
}
