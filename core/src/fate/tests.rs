use crate::limits;
use crate::testing::{Client, Core};

const DESK: &str = "ada@example.org/desk";

/// How the session that was sent the stanza ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    /// It has no stream management, and its socket is gone.
    Plain,
    /// It has, and is not resumed in time.
    Parked,
    /// It has, and its edge does not come back.
    EdgeDies,
}

/// What is seen afterwards.
#[derive(PartialEq, Eq, Debug)]
struct Seen {
    /// The sender was told `service-unavailable`.
    refused: bool,
    /// The account's other session got it, which did not have it before.
    other: bool,
    /// The next login got it.
    next: bool,
}

fn seen(core: &mut Core, client: Client) -> bool {
    core.take_stanzas(client).iter().any(|(stanza, _)| stanza.view().id == Some("s"))
}

/// Ada's desk is sent `stanza` by Grace and does not acknowledge it.
fn fate(stanza: &str, end: End, other_there: bool) -> Seen {
    let context = format!("{stanza} {end:?} {other_there}");
    let mut core = Core::new(2);
    core.friends("ada@example.org", "grace@example.org");
    let grace = core.login("grace@example.org/phone");
    core.send(grace, "<presence/>");
    let desk = core.login(DESK);
    let token = (end != End::Plain).then(|| core.enable(desk, None));
    core.send(desk, "<presence/>");
    let other = other_there.then(|| core.login("ada@example.org/phone"));
    if let Some(other) = other {
        core.send(other, "<presence/>");
    }
    if ["type='result'", "type='error'"].iter().any(|ty| stanza.starts_with("<iq") && stanza.contains(ty)) {
        let to = "grace@example.org/phone";
        core.send(desk, &format!("<iq type='get' id='s' to='{to}'><ping xmlns='urn:xmpp:ping'/></iq>"));
    }
    core.forget();
    core.writing = false;
    core.send(grace, stanza);
    assert!(seen(&mut core, desk) || stanza.contains("groupchat"), "{context}: it was never sent");
    core.writing = true;
    let had = other.is_some_and(|other| seen(&mut core, other));
    core.take(grace);
    match end {
        End::Plain => core.close(desk, false),
        End::Parked => {
            core.close(desk, false);
            assert_eq!(
                (core.take(grace).len(), token.is_some()),
                (0, true),
                "{context}: nothing happens while it is parked"
            );
            core.advance(u64::from(limits::RESUME_S) * 1000);
        }
        End::EdgeDies => {
            let shard = core.owner("ada@example.org");
            core.link_down(shard.try_into().unwrap());
            core.advance(limits::LINK_GRACE_MS);
            core.advance(u64::from(limits::RESUME_S) * 1000);
        }
    }
    let told = core.take(grace);
    let refused = told.iter().filter(|stanza| stanza.contains("service-unavailable")).count();
    assert!(refused <= 1, "{context}: {told:?}");
    let other = other.is_some_and(|other| seen(&mut core, other));
    assert!(!(had && other), "{context}: the other session had it, and got it again");
    if end == End::EdgeDies {
        core.link_up(core.owner("ada@example.org").try_into().unwrap());
    }
    let next = core.login("ada@example.org/next");
    core.send(next, "<presence/>");
    Seen { refused: refused == 1, other, next: seen(&mut core, next) }
}

/// One row a kind of stanza: its fate with nobody else there, and with another session of the account.
#[test]
fn one_row_a_stanza() {
    let none = || Seen { refused: false, other: false, next: false };
    let refused = || Seen { refused: true, ..none() };
    let (waits, other) = (|| Seen { next: true, ..none() }, || Seen { other: true, ..none() });
    let body = "<body>b</body>";
    let typing = "<composing xmlns='http://jabber.org/protocol/chatstates'/>";
    let unstored = format!("{body}<no-store xmlns='urn:xmpp:hints'/>");
    let message =
        |ty: &str, to: &str, payload: &str| format!("<message id='s' type='{ty}' to='{to}'>{payload}</message>");
    let (bare, event) = ("ada@example.org", "<event xmlns='http://jabber.org/protocol/pubsub#event'/>");
    let iq = |ty: &str, payload: &str| format!("<iq id='s' type='{ty}' to='{DESK}'>{payload}</iq>");
    let ping = "<ping xmlns='urn:xmpp:ping'/>";
    let rows = [
        // The other session, if there is one, had what went to the bare JID.
        (message("chat", bare, body), waits(), none()),
        (message("normal", bare, body), waits(), none()),
        (message("chat", DESK, body), waits(), other()),
        (message("normal", DESK, body), refused(), refused()),
        (message("chat", DESK, &unstored), refused(), other()),
        (message("chat", bare, &unstored), refused(), none()),
        (message("chat", DESK, typing), none(), other()),
        (message("normal", DESK, event), none(), none()),
        (message("headline", DESK, body), none(), none()),
        (message("groupchat", DESK, body), none(), none()),
        (message("error", DESK, "<error type='cancel'/>"), none(), none()),
        (iq("get", ping), refused(), refused()),
        (iq("set", ping), refused(), refused()),
        (iq("result", ""), none(), none()),
        (iq("error", "<error type='cancel'/>"), none(), none()),
        (format!("<presence id='s' to='{DESK}'/>"), none(), none()),
    ];
    for (stanza, alone, with_other) in &rows {
        for end in [End::Plain, End::Parked, End::EdgeDies] {
            assert_eq!(fate(stanza, end, false), *alone, "{stanza} {end:?}, alone");
        }
        assert_eq!(fate(stanza, End::Plain, true), *with_other, "{stanza}, another session there");
        assert_eq!(fate(stanza, End::Parked, true), *with_other, "{stanza}, parked, another session there");
    }
}

/// A request that nobody acknowledged comes with the next login: it stays until it is answered (RFC 6121 §3.1.3).
#[test]
fn subscription_requests_stay_with_the_roster() {
    let mut core = Core::new(1);
    core.account("ada@example.org");
    let grace = core.login("grace@example.org/phone");
    let desk = core.login(DESK);
    core.send(desk, "<presence/>");
    core.writing = false;
    core.send(grace, "<presence type='subscribe' to='ada@example.org'/>");
    core.writing = true;
    core.close(desk, false);
    let next = core.login("ada@example.org/next");
    core.send(next, "<presence/>");
    assert!(core.take(next).iter().any(|stanza| stanza.contains("type='subscribe'")));
}
