use crate::limits;
use crate::testing::{Client, Core};
use hearth_wire::{StanzaCondition, StreamCondition};

fn message(to: &str, id: u32) -> String {
    format!("<message to='{to}' id='{id}' type='chat'><body>b</body></message>")
}

fn ids(core: &mut Core, client: Client) -> Vec<String> {
    let stanzas = core.take_stanzas(client);
    stanzas.iter().filter_map(|(stanza, _)| stanza.view().id.map(str::to_owned)).collect()
}

/// Ada with stream management, Grace, her friend, both on record; Ada's token.
fn on_record() -> (Core, Client, Client, String) {
    on_record_with(2)
}

fn on_record_with(shards: u16) -> (Core, Client, Client, String) {
    let mut core = Core::new(shards);
    core.friends("ada@example.org", "grace@example.org");
    let (ada, grace) = (core.login("ada@example.org/desk"), core.login("grace@example.org/phone"));
    let token = core.enable(ada, None);
    for client in [grace, ada] {
        core.send(client, "<presence/>");
    }
    core.advance(limits::MARKS_STORE_MS);
    core.forget();
    (core, ada, grace, token)
}

fn counted(core: &Core, client: Client) -> u32 {
    let session = core.session(client).unwrap();
    u32::try_from(session.outbound.last - session.sm.as_ref().unwrap().entry).unwrap()
}

/// Reads as a start does: nothing may be asked of the store afterwards.
fn records(core: Core) -> usize {
    core.storage.boot().unwrap().sessions.len()
}

#[test]
fn who_was_parked_is_resumed_by_the_next_core() {
    let (mut core, ada, grace, token) = on_record();
    core.writing = false;
    for n in 1..=3 {
        core.send(grace, &message("ada@example.org", n));
    }
    let h = counted(&core, ada);
    core.close(ada, false);
    core.send(grace, &message("ada@example.org", 4));
    core.forget();
    core.crash();
    core.attach(&[grace]);
    core.all_sent();
    assert_eq!(core.take(grace), [""; 0], "Ada is not gone");
    // It had read the first two.
    let again = core.resume("ada@example.org", &token, h - 1);
    assert_eq!(core.jid(again), "ada@example.org/desk");
    assert_eq!(ids(&mut core, again), ["3", "4"]);
    core.send(again, "<presence><status>back</status></presence>");
    assert!(core.take(grace).concat().contains("back"));
}

/// The account's marks are on their way, and fail; the record of its session is stored, and the core dies.
#[test]
fn who_was_parked_is_not_given_again_what_it_had() {
    let (mut core, ada, grace, token) = on_record();
    let tab = core.login("ada@example.org/tab");
    core.send(tab, "<presence/>");
    core.stalled.insert(tab);
    core.send(grace, &message("ada@example.org/tab", 1));
    core.send(grace, &message("ada@example.org/desk", 2));
    let h = counted(&core, ada);
    core.holding = true;
    core.advance(limits::MARKS_STORE_MS);
    core.close(ada, false);
    assert!(core.fail_all_but_one() > 0);
    core.store_one();
    core.holding = false;
    core.crash();
    core.attach(&[grace]);
    core.all_sent();
    let again = core.resume("ada@example.org", &token, h);
    assert_eq!(core.jid(again), "ada@example.org/desk");
    assert_eq!(ids(&mut core, again), ["1"], "the tab had not read it, and is gone");
}

/// What its contacts said meanwhile died with the core.
#[test]
fn who_was_parked_hears_of_contacts_what_is_true_now() {
    for shards in [1, 3] {
        let (mut core, ada, grace, token) = on_record_with(shards);
        let h = counted(&core, ada);
        core.close(ada, false);
        core.send(grace, "<presence type='unavailable'/>");
        core.forget();
        core.crash();
        core.attach(&[grace]);
        core.all_sent();
        let again = core.resume("ada@example.org", &token, h);
        assert_eq!(core.jid(again), "ada@example.org/desk");
        let [gone] = &core.take(again)[..] else { panic!("one presence") };
        assert!(gone.starts_with("<presence type='unavailable' from='grace@example.org'"), "{gone}");
        core.close(again, false);
        let again = core.resume("ada@example.org", &token, h + 1);
        assert_eq!(core.take(again), [""; 0], "once");
    }
}

/// An answer for which a client without a socket waits, or that waits for it, is lost with the core: the client must
/// ask anew.
#[test]
fn who_was_parked_and_owed_an_answer_is_not_resumed_without_it() {
    for (asked, answered) in [(false, false), (true, false), (true, true)] {
        let (mut core, ada, grace, token) = on_record();
        let h = counted(&core, ada);
        if asked {
            core.send(ada, "<iq type='get' id='q' to='grace@example.org/phone'><ping xmlns='urn:xmpp:ping'/></iq>");
        }
        core.close(ada, false);
        if answered {
            core.send(grace, "<iq type='result' id='q' to='ada@example.org/desk'/>");
            core.advance(limits::MARKS_STORE_MS);
        }
        core.forget();
        core.crash();
        core.attach(&[grace]);
        core.all_sent();
        let again = core.resume("ada@example.org", &token, h);
        assert_eq!(core.edge(again).failed.is_some(), asked, "answered: {answered}");
    }
}

#[test]
fn whom_nobody_returns_is_told_of_as_gone_once() {
    for shards in [1, 3] {
        let mut core = Core::new(shards);
        core.friends("ada@example.org", "grace@example.org");
        let (ada, grace) = (core.login("ada@example.org/desk"), core.login("grace@example.org/phone"));
        let mary = core.login("mary@example.org/tab");
        core.send(grace, "<presence/>");
        core.send(ada, "<presence/>");
        // Invisible but to one: RFC 6121 §4.6.
        core.send(mary, "<presence to='grace@example.org/phone'/>");
        core.advance(limits::MARKS_STORE_MS);
        core.forget();
        core.crash();
        core.attach(&[grace]);
        core.all_sent();
        let mut told = core.take(grace);
        told.sort();
        assert_eq!(
            told,
            [
                "<presence type='unavailable' from='ada@example.org/desk' to='grace@example.org'/>",
                "<presence type='unavailable' from='mary@example.org/tab' to='grace@example.org/phone'/>",
            ]
        );
        core.advance(limits::MARKS_STORE_MS);
        core.crash();
        core.attach(&[grace]);
        core.all_sent();
        assert_eq!(core.take(grace), [""; 0]);
    }
}

#[test]
fn who_has_come_back_meanwhile_is_not_told_of_as_gone() {
    let (mut core, _, grace, _) = on_record();
    core.crash();
    core.attach(&[grace]);
    let ada = core.bind("ada@example.org/desk");
    core.all_sent();
    assert_eq!(core.jid(ada), "ada@example.org/desk");
    core.send(ada, "<presence/>");
    assert!(core.take(grace).last().unwrap().starts_with("<presence from='ada@example.org/desk'"));
}

#[test]
fn a_socket_that_was_resumed_elsewhere_is_not_adopted() {
    let (mut core, ada, grace, token) = on_record();
    let h = counted(&core, ada);
    let again = core.resume("ada@example.org", &token, h);
    core.crash();
    // The old socket's edge did not hear of it; it speaks first.
    core.attach(&[ada, again, grace]);
    core.all_sent();
    assert_eq!(core.closed(ada), Some(Some(StreamCondition::Conflict)));
    assert_eq!(core.session(again).map(|session| session.jid.as_str()), Some("ada@example.org/desk"));
}

#[test]
fn a_resumption_is_durable_before_it_is_answered() {
    let (mut core, ada, _, token) = on_record();
    let h = counted(&core, ada);
    core.holding = true;
    let again = core.resume("ada@example.org", &token, h);
    assert_eq!(core.edge(again).resumed, None);
    core.holding = false;
    core.answer();
    assert!(core.edge(again).resumed.is_some());
    core.close(again, false);
    core.failing = true;
    let third = core.resume("ada@example.org", &token, h);
    core.advance(limits::RESUME_SETTLE_MS);
    assert_eq!(core.edge(third).failed, Some(StanzaCondition::ResourceConstraint));
}

#[test]
fn time_goes_on_while_there_is_no_core() {
    let (mut core, ada, grace, token) = on_record();
    let h = counted(&core, ada);
    core.close(ada, false);
    core.forget();
    core.now.utc_ms += u64::from(limits::RESUME_S) * 1000;
    core.crash();
    core.attach(&[grace]);
    core.all_sent();
    assert!(core.take(grace).concat().contains("unavailable"));
    let late = core.resume("ada@example.org", &token, h);
    assert_eq!(core.edge(late).failed, Some(StanzaCondition::ItemNotFound));
}

#[test]
fn a_session_that_ended_is_not_on_record() {
    let (mut core, ada, grace, _) = on_record();
    for client in [ada, grace] {
        assert!(core.session(client).unwrap().on_record);
    }
    core.close(ada, true);
    core.close(grace, false);
    core.advance(limits::MARKS_STORE_MS);
    assert_eq!(records(core), 0);
}

/// XEP-0198 §5: what is not known is not said, or the client would send again what arrived.
#[test]
fn of_a_session_that_nobody_returns_no_h_is_told() {
    let (mut core, ada, grace, token) = on_record();
    core.send(ada, &message("grace@example.org", 1));
    core.forget();
    core.crash();
    core.attach(&[grace]);
    core.all_sent();
    core.advance(limits::LINK_GRACE_MS);
    let late = core.resume("ada@example.org", &token, 0);
    let told = core.edge(late);
    assert_eq!((told.failed, told.handled), (Some(StanzaCondition::ItemNotFound), None));
}

/// A message that one core stored and did not settle comes again behind the next: still it is the same.
#[test]
fn what_came_before_two_crashes_comes_once() {
    let (mut core, ada, grace, token) = on_record();
    let h = counted(&core, ada);
    core.holding = true;
    core.put(ada, &message("grace@example.org", 1));
    core.run();
    core.close(ada, false);
    // Its message and what it was when it lost its socket are durable; no answer came.
    for _ in 0..2 {
        core.store_one();
    }
    core.holding = false;
    core.crash();
    core.attach(&[grace]);
    core.all_sent();
    let again = core.resume("ada@example.org", &token, h);
    assert_eq!(core.jid(again), "ada@example.org/desk");
    core.crash();
    core.attach(&[again, grace]);
    core.all_sent();
    core.send(again, &message("grace@example.org", 1));
    assert_eq!(core.unsettled(again), 0);
    assert_eq!(ids(&mut core, grace), ["1"]);
}

/// A session is resumed with messages that its client has not had, and before they are sent anew the core dies: they
/// come from the next one, though the session had been sent later ones.
#[test]
fn what_a_resumed_session_is_owed_comes_from_the_next_core() {
    for crash_first in [false, true] {
        let (mut core, ada, grace, token) = on_record();
        let h = counted(&core, ada);
        core.writing = false;
        for n in 1..=3 {
            core.send(grace, &message("ada@example.org", n));
        }
        core.close(ada, false);
        if crash_first {
            core.crash();
            core.attach(&[grace]);
            core.all_sent();
        }
        core.forget();
        // Nothing passes the new socket before the core is gone: its edge has no credit to give.
        core.credit = 0;
        let again = core.resume("ada@example.org", &token, h);
        assert_eq!(core.jid(again), "ada@example.org/desk");
        assert_eq!(ids(&mut core, again), [""; 0]);
        // Nor before the core after it is.
        core.crash();
        core.holding = true;
        core.forget();
        core.attach(&[grace, again]);
        core.all_sent();
        while !core.edge(again).attached {
            assert!(core.answer_one());
        }
        assert_eq!(ids(&mut core, again), [""; 0]);
        core.holding = false;
        core.crash();
        (core.credit, core.writing) = (1 << 40, true);
        core.attach(&[grace, again]);
        core.all_sent();
        assert_eq!(ids(&mut core, again), ["1", "2", "3"], "{crash_first}");
    }
}

/// The record of a session that its successor replaced is still there, the successor's not yet.
#[test]
fn a_resource_that_is_told_of_as_gone_does_not_come_back_unheard() {
    let (mut core, ada, old, _) = on_record();
    let new = core.login("grace@example.org/phone");
    core.send(new, "<presence/>");
    assert_eq!(core.closed(old), Some(Some(StreamCondition::Conflict)));
    core.forget();
    core.crash();
    core.attach(&[ada]);
    core.all_sent();
    assert_eq!(core.take(ada), ["<presence type='unavailable' from='grace@example.org/phone' to='ada@example.org'/>"]);
    core.attach(&[new]);
    assert_eq!(core.closed(new), Some(Some(StreamCondition::Reset)));
}

#[test]
fn what_could_not_be_stored_is_tried_again() {
    let (mut core, ada, _, _) = on_record();
    core.failing = true;
    core.close(ada, true);
    let mary = core.login("mary@example.org/tab");
    core.advance(limits::MARKS_STORE_MS);
    core.failing = false;
    core.advance(limits::MARKS_STORE_MS);
    assert!(core.session(mary).is_some());
    let on_record = core.storage.boot().unwrap().sessions;
    let mut whose: Vec<_> = on_record.iter().map(|(account, _)| account.localpart().unwrap_or_default()).collect();
    whose.sort_unstable();
    assert_eq!(whose, ["grace", "mary"]);
}
