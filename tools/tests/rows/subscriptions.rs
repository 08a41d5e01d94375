//! RFC 6121 appendix A. The user is in the row's state; the contact is in a state in which its server routes, or
//! delivers, whatever the row is about, so that nothing but the user's server decides what is heard.

use super::{Case, account, rows};
use hearth_storage::{Change, RosterItem, StoredRequest, Subscription};
use hearth_wire::BareJid;
use hearth_wire::stanza::{Stanza, StanzaKind, StanzaType};
use hearth_wire::tree::Builder;
use std::fmt::Write;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Half {
    No,
    Pending,
    Yes,
}

/// One of the nine states, whether the contact is listed in the roster, whether it is approved.
#[derive(Clone, Copy)]
struct State {
    to: Half,
    from: Half,
    listed: bool,
    approved: bool,
}

impl State {
    fn parse(name: &str) -> State {
        let (main, pending) = name.split_once(" + ").unwrap_or((name, ""));
        let half = |mains: [&str; 2], pendings: [&str; 2]| match () {
            () if mains.contains(&main) => Half::Yes,
            () if pendings.contains(&pending) => Half::Pending,
            () => Half::No,
        };
        let to = half(["To", "Both"], ["Pending Out", "Pending Out+In"]);
        let from = half(["From", "Both"], ["Pending In", "Pending Out+In"]);
        State { to, from, listed: true, approved: false }
    }

    fn subscription(self) -> Subscription {
        match (self.to == Half::Yes, self.from == Half::Yes) {
            (true, true) => Subscription::Both,
            (true, false) => Subscription::To,
            (false, true) => Subscription::From,
            (false, false) => Subscription::None,
        }
    }

    /// The roster item of `contact`, as its owner sees it; empty if it is not listed.
    fn item(self, contact: &BareJid) -> String {
        if !self.listed {
            return String::new();
        }
        let subscription = match self.subscription() {
            Subscription::None => "none",
            Subscription::To => "to",
            Subscription::From => "from",
            Subscription::Both => "both",
        };
        let ask = if self.to == Half::Pending { " ask='subscribe'" } else { "" };
        let approved = if self.approved { " approved='true'" } else { "" };
        format!("<item jid='{contact}' subscription='{subscription}'{ask}{approved}/>")
    }

    /// What is stored of it.
    fn changes(self, owner: &BareJid, contact: &BareJid) -> Vec<Change> {
        let mut changes = Vec::new();
        if self.listed {
            let item = RosterItem {
                contact: contact.as_str().into(),
                name: None,
                groups: Vec::new(),
                subscription: self.subscription(),
                ask: self.to == Half::Pending,
                approved: self.approved,
            };
            changes.push(Change::PutRosterItem { account: owner.clone(), item });
        }
        if self.from == Half::Pending {
            let mut tree = Builder::new();
            tree.leaf(None, "status", "it is me");
            let payload = tree.finish();
            let stanza = Stanza {
                id: Some("kept"),
                from: Some(contact.as_str()),
                to: Some(owner.as_str()),
                payload: &payload,
                ..Stanza::new(StanzaKind::Presence, StanzaType::Subscribe)
            };
            let request =
                StoredRequest { contact: contact.as_str().into(), stanza: stanza.encode(), received_ms: 1_000 };
            changes.push(Change::PutRequest { account: owner.clone(), request });
        }
        changes
    }
}

/// One row, and a variant where the contact is not in the roster at all, which "None" includes (A.1).
pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (table, cells) in rows("subscription_states.txt") {
        let unlisted = matches!(cells[0].as_str(), "None" | "None + Pending In") && !table.contains("pre-approved");
        cases.push(case(cases.len(), &table, &cells, true));
        if unlisted {
            cases.push(case(cases.len(), &table, &cells, false));
        }
    }
    cases
}

fn case(index: usize, table: &str, cells: &[String], listed: bool) -> Case {
    let words: Vec<&str> = table.split([' ', ',']).collect();
    let (out, action) = (words[0] == "out", words[1]);
    let (does, reply) = cells[1].split_once(" + ").unwrap_or((&cells[1], ""));
    let user = State { listed, approved: table.contains("pre-approved"), ..State::parse(&cells[0]) };
    let pre_approval = cells[2] == "pre-approval";
    let new = if cells[2].is_empty() || pre_approval { user } else { State::parse(&cells[2]) };
    let approved = (user.approved || pre_approval) && !(out && action == "unsubscribed");
    let shows = new.to != user.to || new.from == Half::Yes || approved;
    let row = Row {
        name: format!("{table}, {}{}", cells[0], if listed { "" } else { " (not in the roster)" }),
        jid: account(&format!("user{index}")),
        contact_jid: account(&format!("contact{index}")),
        out,
        action,
        passes: does == "MUST",
        replies: reply == "subscribed",
        user,
        new: State { approved, listed: listed || shows, ..new },
        contact: contact(out, action, user),
    };
    let accounts = vec![
        (row.jid.clone(), user.changes(&row.jid, &row.contact_jid)),
        (row.contact_jid.clone(), row.contact.changes(&row.contact_jid, &row.jid)),
    ];
    Case { transcript: row.transcript(), name: row.name, accounts }
}

/// The state of the other side: the half that the stanza moves lets it pass, the other half agrees.
fn contact(out: bool, action: &str, user: State) -> State {
    let agrees = State { to: user.from, from: user.to, listed: true, approved: false };
    match (out, action) {
        // A request is delivered to who has none.
        (true, "subscribe") => State { from: Half::No, ..agrees },
        (true, "unsubscribe") => State { from: Half::Yes, ..agrees },
        (true, "subscribed") => State { to: Half::Pending, ..agrees },
        (true, "unsubscribed") => State { to: Half::Yes, ..agrees },
        // One's own stanza is routed: a request that was sent before, an answer to one.
        (false, "subscribe") => State { to: Half::Pending, ..agrees },
        (false, "unsubscribe") => State { to: Half::Yes, ..agrees },
        (false, "subscribed") => State { from: Half::Pending, ..agrees },
        _ => State { from: Half::Yes, ..agrees },
    }
}

struct Row<'a> {
    name: String,
    jid: BareJid,
    contact_jid: BareJid,
    /// The user's own stanza, else the contact's.
    out: bool,
    action: &'a str,
    /// Routed or delivered.
    passes: bool,
    /// Answered with `subscribed`.
    replies: bool,
    user: State,
    new: State,
    contact: State,
}

impl Row<'_> {
    fn transcript(&self) -> String {
        let Row { name, jid, contact_jid, action, contact, .. } = self;
        // Requests find available resources. Else nobody is available, so that no probe mends rosters that
        // this test wants to disagree, and no presence is in the way.
        let (mut here, mut there) = ("interested", "interested");
        match (self.out, *action) {
            (true, "subscribe" | "unsubscribe") => there = "interested, available",
            (true, _) | (false, "subscribe" | "unsubscribe") => here = "interested, available",
            (false, _) => {}
        }
        let mut text = format!(
            "# {name}\nuser: {jid}/desk ({here})    contact: {contact_jid}/lab ({there})\n\
             again: {jid}/again (interested, available, later)\n\n"
        );
        let mut line = |who: &str, what: &str| {
            let _ = writeln!(text, "{who} {what}");
        };
        // §3.1.2: sent to a full JID, it is for the bare one.
        let (from, to, from_jid, to_jid, resource) = match self.out {
            true => ("user", "contact", jid, contact_jid, "lab"),
            false => ("contact", "user", contact_jid, jid, "desk"),
        };
        line(from, &format!("> <presence type='{action}' id='x' to='{to_jid}/{resource}'/>"));
        let arrives = format!("< <presence type='{action}' id='x' from='{from_jid}' to='{to_jid}'/>");
        let theirs = self.contact_after();
        if self.out {
            if self.passes {
                line(to, &arrives);
                if theirs.item(jid) != contact.item(jid) {
                    line("contact", &push(&theirs.item(jid)));
                }
            }
        } else {
            if theirs.item(jid) != contact.item(jid) && !self.replies {
                line("contact", &push(&theirs.item(jid)));
            }
            if self.passes {
                line(to, &arrives);
            }
            if self.replies {
                line("contact", &format!("< <presence type='subscribed' id='x' from='{jid}' to='{contact_jid}'/>"));
                line("contact", &push(&theirs.item(jid)));
            }
        }
        if self.new.item(contact_jid) != self.user.item(contact_jid) {
            line("user", &push(&self.new.item(contact_jid)));
        }
        // The new state: the roster, and whether a request waits.
        line("user", "> <iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>");
        let items = self.new.item(contact_jid);
        line(
            "user",
            &format!("< <iq type='result' id='r'><query xmlns='jabber:iq:roster' ver='*'>{items}</query></iq>"),
        );
        line("user", "-");
        line("again", "+");
        if self.new.from == Half::Pending {
            let (id, child) =
                if self.user.from == Half::Pending { ("kept", "<status>it is me</status>") } else { ("x", "") };
            line(
                "again",
                &format!("< <presence type='subscribe' id='{id}' from='{contact_jid}' to='{jid}'>{child}</presence>"),
            );
        }
        if there.contains("available") && self.new.from == Half::Yes {
            line("contact", &format!("< <presence from='{jid}/again'/>"));
        }
        text
    }

    /// What the stanza makes of the contact's own side.
    fn contact_after(&self) -> State {
        let contact = self.contact;
        match (self.out, self.action) {
            (true, "subscribe") => State { from: Half::Pending, ..contact },
            (true, "unsubscribe") => State { from: Half::No, ..contact },
            (true, "subscribed") => State { to: Half::Yes, ..contact },
            (false, "subscribe") if self.replies => State { to: Half::Yes, ..contact },
            (false, "subscribe") => contact,
            (true, _) | (false, "unsubscribe") => State { to: Half::No, ..contact },
            (false, "subscribed") => State { from: Half::Yes, ..contact },
            (false, _) => State { from: Half::No, ..contact },
        }
    }
}

/// A roster push with this item.
fn push(item: &str) -> String {
    format!("< <iq type='set' id='*'><query xmlns='jabber:iq:roster' ver='*'>{item}</query></iq>")
}
