//! A session that reads slowly, and the account's others.

use crate::limits;
use crate::testing::{Client, Core};
use hearth_wire::stanza::{StanzaKind, StanzaType};

/// Bytes of a body: some thirty are more than what is held for a session.
const LONG: usize = 20 * 1024;

/// What a slow client takes before it stops, and with each look.
const LITTLE: u64 = 100 * 1024;

fn message(to: &str, id: u32) -> String {
    let long = "x".repeat(LONG);
    format!("<message to='{to}' id='{id}' type='chat'><body>{long}</body></message>")
}

/// Ada's phone, which reads no more after some bytes, and her desk, which does; Grace, who writes to her.
struct Account {
    core: Core,
    phone: Client,
    desk: Client,
    grace: Client,
    /// What the phone has been allowed so far.
    credit: u64,
    token: String,
}

impl Account {
    fn new() -> Account {
        let mut core = Core::new(2);
        core.friends("ada@example.org", "grace@example.org");
        let grace = core.login("grace@example.org/phone");
        let desk = core.login("ada@example.org/desk");
        core.credit = LITTLE;
        let phone = core.login("ada@example.org/phone");
        core.credit = 1 << 40;
        let token = core.enable(phone, None);
        core.stalled.insert(phone);
        core.send(desk, "<presence/>");
        core.send(phone, "<presence/>");
        core.forget();
        Account { core, phone, desk, grace, credit: LITTLE, token }
    }

    /// Grace sends Ada these messages.
    fn send(&mut self, ids: std::ops::Range<u32>) {
        for id in ids {
            self.core.send(self.grace, &message("ada@example.org", id));
        }
        assert_eq!(self.core.unsettled(self.grace), 0, "nobody waits for what the phone reads");
    }

    /// The phone reads what it was sent, and a little more each time, until nothing comes: the ids of that.
    fn phone_reads(&mut self) -> Vec<u32> {
        let mut got = Vec::new();
        loop {
            let came = ids(&mut self.core, self.phone);
            let session = self.core.session(self.phone).expect("it is not detached");
            let held_bytes = session.outbound.held_bytes;
            assert!(held_bytes <= limits::HELD_BYTES_MAX / 2 + 2 * LONG, "{held_bytes}");
            let nothing_waits = session.outbound.behind.is_none() && session.outbound.held.is_empty();
            if came.is_empty() && nothing_waits {
                return got;
            }
            got.extend(came);
            self.credit += LITTLE;
            self.core.reads(self.phone, self.credit);
        }
    }

    fn is_behind(&self) -> bool {
        self.core.session(self.phone).is_some_and(|session| session.outbound.behind.is_some())
    }

    /// The phone's socket is lost; it had read `h` stanzas.
    fn phone_is_resumed(&mut self, h: u32) {
        self.core.credit = LITTLE;
        self.phone = self.core.resume("ada@example.org", &self.token, h);
        assert_eq!(self.core.jid(self.phone), "ada@example.org/phone");
        (self.core.credit, self.credit) = (1 << 40, LITTLE);
        self.core.stalled.insert(self.phone);
    }
}

/// Ids of the messages a client got.
fn ids(core: &mut Core, client: Client) -> Vec<u32> {
    let stanzas = core.take_stanzas(client);
    let messages = stanzas.iter().map(|(stanza, _)| stanza.view()).filter(|view| view.kind == StanzaKind::Message);
    messages.filter_map(|view| view.id?.parse().ok()).collect()
}

fn all(ids: std::ops::Range<u32>) -> Vec<u32> {
    ids.collect()
}

#[test]
fn a_slow_session_gets_all_in_order_and_holds_up_nobody() {
    let mut ada = Account::new();
    ada.send(0..80);
    assert_eq!(ids(&mut ada.core, ada.desk), all(0..80));
    assert!(ada.is_behind());
    // What others had is no undelivered message: nobody who comes gets it.
    let tablet = ada.core.login("ada@example.org/tablet");
    ada.core.send(tablet, "<presence/>");
    assert_eq!(ids(&mut ada.core, tablet), [0; 0]);
    assert_eq!(ada.core.loaded("ada@example.org").unwrap().undelivered(), 0);
    assert_eq!(ada.phone_reads(), all(0..80));
    // It has caught up: what comes now comes as it comes.
    ada.send(80..81);
    let [(stanza, overlay)] = &ada.core.take_stanzas(ada.phone)[..] else { panic!("one stanza") };
    assert_eq!((stanza.view().id, &overlay.delay), (Some("80"), &None));
    assert!(!ada.is_behind());
}

#[test]
fn what_is_flushed_to_a_slow_session_holds_up_nobody() {
    let mut core = Core::new(2);
    core.account("ada@example.org");
    let grace = core.login("grace@example.org/phone");
    (0..60).for_each(|id| core.send(grace, &message("ada@example.org", id)));
    let desk = core.login("ada@example.org/desk");
    core.credit = LITTLE;
    let phone = core.login("ada@example.org/phone");
    core.credit = 1 << 40;
    core.stalled.insert(phone);
    core.send(phone, "<presence/>");
    let mut flushed = ids(&mut core, phone);
    assert!(!flushed.is_empty() && flushed.len() < 60);
    // What is still to be read waits for nobody in particular: who comes next has it at once, and live ones behind.
    core.send(desk, "<presence/>");
    core.send(grace, &message("ada@example.org", 60));
    core.send(grace, "<iq type='get' id='q' to='ada@example.org/phone'><ping xmlns='urn:xmpp:ping'/></iq>");
    assert_eq!(core.unsettled(grace), 0);
    let at_desk = ids(&mut core, desk);
    assert!(at_desk.is_sorted() && at_desk.last() == Some(&60), "{at_desk:?}");
    for look in 2..100 {
        core.reads(phone, look * LITTLE);
        flushed.extend(ids(&mut core, phone));
    }
    assert!(flushed.is_sorted() && flushed.last() == Some(&60), "{flushed:?}");
    let twice = flushed.iter().filter(|id| at_desk.contains(id)).count();
    assert_eq!((twice, flushed.len() + at_desk.len()), (1, 62), "{flushed:?} {at_desk:?}");
}

#[test]
fn a_slow_session_that_is_resumed_gets_the_rest() {
    let mut ada = Account::new();
    ada.send(0..60);
    let mut got = ids(&mut ada.core, ada.phone);
    let counted = counted(&got);
    ada.core.close(ada.phone, false);
    ada.send(60..80);
    // It had read all but the last.
    let again = got.pop();
    ada.phone_is_resumed(counted - 1);
    let rest = ada.phone_reads();
    assert_eq!(rest.first().copied(), again);
    got.extend(rest);
    assert_eq!(got, all(0..80));
    assert_eq!(ids(&mut ada.core, ada.desk), all(0..80));
}

/// What the phone has counted when it has got these messages: before them, its own presence and the desk's.
fn counted(got: &[u32]) -> u32 {
    2 + u32::try_from(got.len()).unwrap()
}

#[test]
fn the_next_core_knows_what_a_slow_session_is_owed() {
    for stored in [true, false] {
        let mut ada = Account::new();
        ada.send(0..60);
        let mut got = ids(&mut ada.core, ada.phone);
        assert_eq!(ids(&mut ada.core, ada.desk), all(0..60));
        if stored {
            ada.core.advance(limits::MARKS_STORE_MS);
        }
        for _ in 0..2 {
            ada.core.crash();
            ada.core.attach(&[ada.grace, ada.desk]);
            let credit = ada.credit;
            ada.core.attach_as(ada.phone, |attach| attach.credit = credit);
            ada.core.all_sent();
            assert_eq!(ids(&mut ada.core, ada.desk), [0; 0], "stored {stored}");
            got.extend(ids(&mut ada.core, ada.phone));
        }
        ada.send(60..70);
        got.extend(ada.phone_reads());
        assert_eq!(got, all(0..70), "stored {stored}");
        assert_eq!(ids(&mut ada.core, ada.desk), all(60..70));
    }
}

#[test]
fn the_next_core_knows_what_a_slow_session_is_owed_that_was_parked() {
    let mut ada = Account::new();
    ada.send(0..60);
    let mut got = ids(&mut ada.core, ada.phone);
    let counted = counted(&got);
    ada.core.close(ada.phone, false);
    ada.send(60..70);
    ada.core.advance(limits::MARKS_STORE_MS);
    ada.core.crash();
    ada.core.attach(&[ada.grace, ada.desk]);
    ada.core.all_sent();
    ada.send(70..80);
    assert_eq!(ids(&mut ada.core, ada.desk), all(0..80));
    // It had read all but the last two, which the desk had long ago.
    got.truncate(got.len() - 2);
    ada.phone_is_resumed(counted - 2);
    got.extend(ada.phone_reads());
    assert_eq!(got, all(0..80));
}

#[test]
fn of_a_slow_session_that_ends_only_what_nobody_else_had_is_left() {
    let mut ada = Account::new();
    ada.send(0..60);
    for id in 60..70 {
        ada.core.send(ada.grace, &message("ada@example.org/phone", id));
    }
    assert_eq!(ids(&mut ada.core, ada.desk), all(0..60));
    let tablet = ada.core.login("ada@example.org/tablet");
    ada.core.send(tablet, "<presence/>");
    assert_eq!(ids(&mut ada.core, tablet), [0; 0], "it is the phone's, as long as that is there");
    // It is read some that the desk has had, and does not acknowledge them.
    ada.core.reads(ada.phone, 5 * LITTLE);
    ada.core.close(ada.phone, true);
    // One of those who are there has it.
    let (desk, tablet) = (ids(&mut ada.core, ada.desk), ids(&mut ada.core, tablet));
    assert_eq!([desk, tablet].concat(), all(60..70));
}

/// RFC 6120 §10.1: what somebody sends comes in its order, in the log or not. What the session asked for itself does
/// not wait for that.
#[test]
fn what_is_not_logged_does_not_overtake() {
    let mut ada = Account::new();
    let state = |id: u32| {
        let state = "<composing xmlns='http://jabber.org/protocol/chatstates'/>";
        format!("<message to='ada@example.org' id='{id}' type='chat'>{state}</message>")
    };
    for id in 0..80 {
        let stanza = if id % 10 == 9 { state(id) } else { message("ada@example.org", id) };
        ada.core.send(ada.grace, &stanza);
    }
    ada.core.send(ada.grace, "<presence id='80' to='ada@example.org/phone'/>");
    ada.core.send(ada.grace, "<iq type='get' id='81' to='ada@example.org/phone'><ping xmlns='urn:xmpp:ping'/></iq>");
    assert_eq!(ada.core.unsettled(ada.grace), 0);
    assert_eq!(ids(&mut ada.core, ada.desk), all(0..80));
    ada.core.send(ada.phone, "<iq type='get' id='mine'><query xmlns='jabber:iq:roster'/></iq>");
    let mut got = Vec::new();
    for look in 2..100 {
        let stanzas = ada.core.take_stanzas(ada.phone);
        got.extend(stanzas.iter().filter_map(|(stanza, _)| stanza.view().id.map(str::to_owned)));
        ada.core.reads(ada.phone, look * LITTLE);
    }
    let mine = got.iter().position(|id| id == "mine").unwrap();
    assert!(mine < 40, "{mine}");
    got.remove(mine);
    assert_eq!(got, (0..82).map(|id| id.to_string()).collect::<Vec<_>>());
}

/// It gets what it would have got live, and nothing else.
#[test]
fn what_is_for_others_is_not_read_to_a_slow_session() {
    let mut ada = Account::new();
    ada.send(0..40);
    assert!(ada.is_behind());
    ada.core.send(ada.grace, &message("ada@example.org/desk", 40));
    ada.core.send(ada.grace, &message("ada@example.org/phone", 41));
    assert_eq!(ids(&mut ada.core, ada.desk), all(0..41));
    let got = ada.phone_reads();
    assert_eq!(got, [all(0..40), vec![41]].concat());
    // Nor, to one that comes now, what was there before: over a crash, too.
    let tablet = ada.core.login("ada@example.org/tablet");
    ada.core.send(tablet, "<presence/>");
    ada.core.advance(limits::MARKS_STORE_MS);
    ada.core.crash();
    ada.core.attach(&[ada.grace, ada.desk, tablet]);
    ada.core.all_sent();
    assert_eq!((ids(&mut ada.core, tablet), ids(&mut ada.core, ada.desk)), (vec![], vec![]));
}

/// What was sent to a session and lost with the core and the link comes, though another session had it.
#[test]
fn what_was_lost_on_the_way_comes_whoever_else_had_it() {
    let mut ada = Account::new();
    ada.send(0..2);
    let desk = ids(&mut ada.core, ada.desk);
    assert_eq!((desk, ids(&mut ada.core, ada.phone)), (all(0..2), all(0..2)));
    ada.core.crash();
    ada.core.attach(&[ada.grace, ada.desk]);
    // The phone's edge had the first only.
    let first = ada.core.edge(ada.phone).logged[0];
    ada.core.entry_is(ada.phone, first.entry);
    ada.core.attach_as(ada.phone, |attach| {
        (attach.entry, attach.written, attach.log) = (first.entry, first.entry - 1, first.log);
        attach.unwritten.truncate(1);
    });
    ada.core.all_sent();
    assert_eq!((ids(&mut ada.core, ada.desk), ids(&mut ada.core, ada.phone)), (vec![], vec![1]));
}

/// A page that is under way when the session loses its socket is of no use to it any more.
#[test]
fn a_page_that_was_asked_for_before_a_resumption_comes_once() {
    let mut ada = Account::new();
    ada.send(0..60);
    let mut got = ids(&mut ada.core, ada.phone);
    let counted = counted(&got);
    ada.core.holding = true;
    // All that is held for it goes out, so that the next page is asked for.
    ada.core.reads(ada.phone, 1 << 40);
    let lost = ids(&mut ada.core, ada.phone);
    assert!(!lost.is_empty() && ada.is_behind());
    ada.core.close(ada.phone, false);
    ada.core.holding = false;
    ada.core.answer();
    ada.phone_is_resumed(counted);
    got.extend(ada.phone_reads());
    assert_eq!(got, all(0..60));
}

/// What a session that ends gives back is older than what the slow one has had: that does not come again.
#[test]
fn what_is_given_back_comes_once_and_nothing_twice() {
    for page_under_way in [false, true] {
        let mut ada = Account::new();
        let tablet = ada.core.login("ada@example.org/tablet");
        ada.core.stalled.insert(tablet);
        ada.core.send(tablet, "<presence/>");
        ada.core.send(ada.grace, &message("ada@example.org/tablet", 100));
        ada.send(0..60);
        ada.core.close(ada.desk, true);
        let mut got = ids(&mut ada.core, ada.phone);
        ada.core.holding = page_under_way;
        // More than is held for it: the next page is asked for.
        ada.core.reads(ada.phone, if page_under_way { 1 << 40 } else { 5 * LITTLE });
        assert!(ada.is_behind());
        ada.core.close(tablet, true);
        ada.core.holding = false;
        ada.core.answer();
        got.extend(ada.phone_reads());
        let at = got.iter().position(|id| *id == 100).unwrap();
        got.remove(at);
        assert_eq!(got, all(0..60), "{page_under_way}");
    }
}

/// The same with one that has not fallen behind: it reads that record, and no other.
#[test]
fn what_is_given_back_comes_to_one_that_keeps_up() {
    let mut ada = Account::new();
    ada.core.send(ada.grace, &message("ada@example.org/phone", 100));
    ada.send(0..3);
    assert_eq!(ids(&mut ada.core, ada.desk), all(0..3));
    ada.core.close(ada.phone, true);
    ada.send(3..4);
    assert_eq!(ids(&mut ada.core, ada.desk), [100, 3]);
}

#[test]
fn what_was_owed_and_has_come_does_not_come_from_the_next_core() {
    let mut ada = Account::new();
    ada.send(0..3);
    assert_eq!(ids(&mut ada.core, ada.phone), all(0..3));
    ada.core.close(ada.phone, false);
    // Its capsule says that it is owed all three: there was no credit when it was made.
    ada.core.credit = 0;
    ada.phone = ada.core.resume("ada@example.org", &ada.token, counted(&[]));
    (ada.core.credit, ada.credit) = (1 << 40, LITTLE);
    ada.core.stalled.insert(ada.phone);
    assert_eq!(ids(&mut ada.core, ada.phone), [0; 0]);
    ada.core.reads(ada.phone, LITTLE);
    assert_eq!(ids(&mut ada.core, ada.phone), all(0..3));
    ada.core.crash();
    ada.core.attach(&[ada.grace, ada.desk, ada.phone]);
    ada.core.all_sent();
    assert_eq!(ids(&mut ada.core, ada.phone), [0; 0]);
    ada.send(3..4);
    assert_eq!(ids(&mut ada.core, ada.phone), [3]);
}

/// What is not logged is bounded, and detaches who does not read; what is read from the log never does.
#[test]
fn messages_from_the_log_detach_nobody() {
    let mut ada = Account::new();
    ada.send(0..40);
    let held = |ada: &Account| ada.core.session(ada.phone).unwrap().outbound.held_bytes;
    // All that is held passes, and nothing more would: the next page is asked for.
    ada.core.holding = true;
    let sent = ada.core.session(ada.phone).unwrap().outbound.sent_bytes;
    ada.core.reads(ada.phone, sent + held(&ada) as u64);
    assert_eq!(held(&ada), 0);
    let headline = message("ada@example.org/phone", 0).replace("type='chat'", "type='headline'");
    ada.core.send(ada.grace, &headline);
    let (size, mut headlines) = (held(&ada), 1);
    while held(&ada) + size <= limits::HELD_BYTES_MAX {
        ada.core.send(ada.grace, &headline);
        headlines += 1;
    }
    ada.core.holding = false;
    ada.core.answer();
    assert!(held(&ada) > limits::HELD_BYTES_MAX, "one record is held beyond that");
    assert!(headlines > 5, "{headlines}");
    let mut got = Vec::new();
    for look in 1..100 {
        got.extend(ada.core.take_stanzas(ada.phone));
        ada.core.reads(ada.phone, sent + look * LITTLE);
    }
    assert_eq!(ada.core.closed(ada.phone), None);
    let of = |headline: bool| {
        got.iter().filter(move |(stanza, _)| headline == (stanza.view().ty == StanzaType::Headline)).count()
    };
    assert_eq!((of(true), of(false)), (headlines, 40));
}
