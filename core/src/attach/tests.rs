use crate::limits;
use crate::outputs::Event;
use crate::shard::Input;
use crate::testing::{Client, Core};
use hearth_storage::{Answer, Ask, LogId, NewRecord};
use hearth_wire::StreamCondition;
use hearth_wire::ids::IngestId;

/// Ada and Grace, friends, both here.
fn friends(shards: u16) -> (Core, Client, Client) {
    let mut core = Core::new(shards);
    core.friends("ada@example.org", "grace@example.org");
    let (ada, grace) = (core.login("ada@example.org/desk"), core.login("grace@example.org/phone"));
    for client in [ada, grace] {
        core.send(client, "<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq><presence/>");
    }
    core.forget();
    (core, ada, grace)
}

fn message(to: &str, id: u32) -> String {
    format!("<message to='{to}' id='{id}' type='chat'><body>b</body></message>")
}

/// Ids of the messages a client got.
fn ids(core: &mut Core, client: Client) -> Vec<String> {
    let stanzas = core.take_stanzas(client);
    let messages = stanzas.iter().filter(|(stanza, _)| crate::message::logged(stanza));
    messages.filter_map(|(stanza, _)| stanza.view().id.map(str::to_owned)).collect()
}

#[test]
fn a_lost_link_loses_nothing_and_tells_nobody() {
    for shards in [1, 2, 4] {
        let (mut core, ada, grace) = friends(shards);
        core.writing = false;
        core.send(ada, &message("grace@example.org", 1));
        assert_eq!(ids(&mut core, grace), ["1"]);
        core.relink();
        // Ada's edge has not come back with her; what is for Grace waits.
        core.attach(&[ada]);
        core.send(ada, &message("grace@example.org", 2));
        assert_eq!(ids(&mut core, grace), [""; 0]);
        core.attach(&[grace]);
        core.all_sent();
        assert_eq!(ids(&mut core, grace), ["2"], "what the edge had does not come again");
        core.send(grace, &message("ada@example.org", 3));
        assert_eq!(ids(&mut core, ada), ["3"]);
        assert!(!core.events.iter().any(|event| matches!(event, Event::SessionEnded { .. })));
        assert_eq!((core.unsettled(ada), core.unsettled(grace)), (0, 0));
    }
}

#[test]
fn what_one_side_did_not_get_is_sent_again() {
    let (mut core, ada, grace) = friends(2);
    core.send(ada, &message("grace@example.org", 1));
    core.send(grace, "<presence><status>away</status></presence>");
    core.forget();
    core.relink();
    // The edge had neither the message nor what followed.
    let (entry, sent) = (core.session(ada).map(|s| s.outbound.last), 0);
    assert_eq!((entry, sent), (None, 0), "no socket has it");
    core.attach(&[ada]);
    core.attach_as(grace, |attach| attach.entry = attach.written);
    core.all_sent();
    assert_eq!(ids(&mut core, grace), [""; 0]);
    core.send(ada, &message("grace@example.org", 2));
    assert_eq!(ids(&mut core, grace), ["2"]);
}

#[test]
fn who_is_not_named_is_gone() {
    let (mut core, ada, grace) = friends(2);
    core.relink();
    core.attach(&[ada]);
    assert_eq!(core.take(ada), [""; 0], "there is time yet");
    core.all_sent();
    assert_eq!(core.take(ada), ["<presence type='unavailable' from='grace@example.org/phone' to='ada@example.org'/>"]);
    // And does not come back: its session has ended here.
    core.attach(&[grace]);
    assert_eq!(core.closed(grace), Some(Some(StreamCondition::Reset)));
}

#[test]
fn an_edge_that_stays_away_has_no_sessions() {
    let (mut core, ..) = friends(1);
    core.input(0, Input::LinkDown(core.link));
    core.run();
    core.advance(limits::LINK_GRACE_MS - 1);
    assert_eq!(core.shards[0].sessions.len(), 2);
    core.advance(1);
    assert_eq!(core.shards[0].sessions.len(), 0);
    assert!(core.shards[0].links.is_empty());
}

#[test]
fn the_next_core_has_sessions_as_they_were() {
    for shards in [1, 3] {
        let (mut core, ada, grace) = friends(shards);
        let mary = core.login("mary@example.org/tab");
        core.send(mary, "<presence to='ada@example.org/desk'/>");
        core.send(ada, "<presence><priority>3</priority><status>here</status></presence>");
        let before = ["ada@example.org/desk", "grace@example.org/phone", "mary@example.org/tab"].map(|jid| {
            let session = core.shards.iter().flat_map(|s| s.sessions.iter()).find(|(_, s)| s.jid.as_str() == jid);
            let (_, session) = session.unwrap();
            (session.stream, session.presence.clone(), session.priority, session.interested, session.directed.clone())
        });
        core.forget();
        core.crash();
        core.attach(&[ada, grace, mary]);
        core.all_sent();
        assert!(core.shards.iter().all(|shard| shard.recovery.is_none()));
        for (client, before) in [ada, grace, mary].into_iter().zip(before) {
            let session = core.session(client).unwrap();
            let now = (
                session.stream,
                session.presence.clone(),
                session.priority,
                session.interested,
                session.directed.clone(),
            );
            assert_eq!(now, before);
            assert_eq!(core.take(client), [""; 0], "nothing is broadcast");
        }
        core.send(ada, &message("grace@example.org", 1));
        assert_eq!(ids(&mut core, grace), ["1"]);
        // Whom presence was sent directly hears of the end.
        core.close(mary, false);
        assert!(
            core.take(ada)
                .iter()
                .any(|stanza| stanza.contains("from='mary@example.org/tab' ") && stanza.contains("unavailable"))
        );
    }
}

#[test]
fn an_acknowledged_message_survives_whatever_its_recipient_had() {
    // Grace's edge: had it and wrote it; had it; did not have it.
    for (had, wrote, comes) in [(true, true, 0), (true, false, 0), (false, false, 1)] {
        let (mut core, ada, grace) = friends(2);
        core.writing = false;
        core.send(ada, &message("grace@example.org", 1));
        assert_eq!(core.unsettled(ada), 0);
        core.forget();
        let at = core.edge(grace).logged[0];
        core.crash();
        core.attach(&[ada]);
        core.attach_as(grace, |attach| {
            attach.entry = at.entry;
            attach.written = if wrote { at.entry } else { at.entry - 1 };
            attach.recent = if wrote { vec![at.log] } else { Vec::new() };
            attach.unwritten.retain(|_| had && !wrote);
            attach.log = at.log;
            if !had {
                (attach.entry, attach.log) = (at.entry - 1, 0);
                attach.unwritten.clear();
            }
        });
        if !had {
            core.entry_is(grace, at.entry - 1);
        }
        core.all_sent();
        assert_eq!(ids(&mut core, grace).len(), comes, "had {had}, wrote {wrote}");
        // Should Grace's client die now, the next one gets what it is not known to have had.
        core.close(grace, false);
        let again = core.login("grace@example.org/other");
        core.send(again, "<presence/>");
        assert_eq!(ids(&mut core, again).len(), usize::from(!wrote), "had {had}, wrote {wrote}");
    }
}

#[test]
fn what_was_stored_as_waiting_does_not_come_again_to_who_had_it_just_before_the_end() {
    let (mut core, ada, grace) = friends(1);
    core.close(grace, false);
    core.send(ada, &message("grace@example.org", 1));
    core.advance(limits::MARKS_STORE_MS);
    assert_eq!(core.stored("grace@example.org").marks.undelivered.len(), 1);
    let grace = core.login("grace@example.org/phone");
    core.send(grace, "<presence/>");
    assert_eq!(ids(&mut core, grace), ["1"]);
    core.crash();
    core.attach(&[ada, grace]);
    core.all_sent();
    assert_eq!(ids(&mut core, grace), [""; 0]);
    core.close(grace, false);
    let again = core.login("grace@example.org/other");
    core.send(again, "<presence/>");
    assert_eq!(ids(&mut core, again), [""; 0]);
}

#[test]
fn what_was_not_settled_is_sent_again_and_comes_once() {
    let (mut core, ada, grace) = friends(2);
    // The record is durable, the core dies before anybody hears of it.
    core.holding = true;
    core.put(ada, &message("grace@example.org", 1));
    core.run();
    core.put(ada, &message("grace@example.org", 2));
    core.run();
    let jid = hearth_wire::BareJid::parse("grace@example.org").unwrap();
    core.store_one();
    assert_eq!((core.unsettled(ada), core.take(grace).len()), (2, 0));
    core.crash();
    core.holding = false;
    core.attach(&[ada, grace]);
    core.all_sent();
    assert_eq!(core.unsettled(ada), 0);
    assert_eq!(ids(&mut core, grace), ["1", "2"]);
    let log = core.ask_store(&jid, hearth_storage::Ask::ReadLog { account: jid.clone(), after: LogId(0), limit: 9 });
    assert!(matches!(log, hearth_storage::Answer::Records(records) if records.len() == 2));
}

#[test]
fn nobody_is_missed_before_all_have_had_their_chance() {
    let (mut core, ada, grace) = friends(2);
    core.crash();
    core.attach(&[ada]);
    // A question to somebody who is not back yet waits, a message too.
    core.put(ada, "<iq type='get' id='q' to='grace@example.org/phone'><ping xmlns='urn:xmpp:ping'/></iq>");
    core.put(ada, &message("grace@example.org/phone", 1));
    core.run();
    assert_eq!(core.take(ada), [""; 0]);
    core.attach(&[grace]);
    core.all_sent();
    assert_eq!(core.take(ada), [""; 0]);
    let got = core.take(grace);
    assert!(got.len() == 2 && got[0].contains("urn:xmpp:ping") && got[1].contains("<body>"), "{got:?}");
}

#[test]
fn a_core_waits_for_edges_only_so_long() {
    let (mut core, ada, _) = friends(1);
    core.crash();
    core.attach(&[ada]);
    core.put(ada, "<iq type='get' id='q' to='grace@example.org/phone'><ping xmlns='urn:xmpp:ping'/></iq>");
    core.run();
    core.advance(limits::LINK_GRACE_MS - 1);
    assert_eq!(core.take(ada), [""; 0]);
    core.advance(1);
    let [answer] = &core.take(ada)[..] else { panic!("one answer") };
    assert!(answer.contains("service-unavailable"), "{answer}");
}

#[test]
fn a_capsule_that_is_not_good_adopts_nobody() {
    let (mut core, ada, grace) = friends(1);
    core.crash();
    core.attach_as(ada, |attach| attach.sealed = b"forged");
    core.attach_as(grace, |attach| attach.generation.counter += 100);
    core.run();
    core.all_sent();
    assert_eq!(core.closed(ada), Some(Some(StreamCondition::Reset)));
    assert_eq!(core.closed(grace), Some(Some(StreamCondition::Reset)));
    assert_eq!(core.shards[0].sessions.len(), 0);
}

/// They know of messages that a store restored since does not have.
#[test]
fn nobody_is_adopted_over_a_restore() {
    let (mut core, ada, grace) = friends(1);
    let settings = &mut core.shards[0].settings;
    settings.restored = settings.epoch;
    core.crash();
    core.attach(&[ada, grace]);
    core.all_sent();
    assert_eq!(core.closed(ada), Some(Some(StreamCondition::Reset)));
    assert_eq!((core.closed(grace), core.shards[0].sessions.len()), (Some(Some(StreamCondition::Reset)), 0));
}

#[test]
fn who_was_disabled_or_changed_the_password_is_not_adopted() {
    use hearth_storage::{Answer, Ask, Change, Disabled};
    let (mut core, ada, grace) = friends(1);
    let [jid, other] = ["ada@example.org", "grace@example.org"].map(|jid| hearth_wire::BareJid::parse(jid).unwrap());
    let disabled = Some(Disabled { since_ms: 1, reason: None });
    let changes = vec![Change::PutDisabled { account: jid.clone(), disabled }];
    assert!(matches!(core.ask_store(&jid, Ask::Apply { changes }), Answer::Applied));
    let mut credentials = core.stored("grace@example.org").credentials;
    credentials.generation += 1;
    let changes = vec![Change::SetCredentials { account: other.clone(), credentials }];
    assert!(matches!(core.ask_store(&other, Ask::Apply { changes }), Answer::Applied));
    core.crash();
    core.attach(&[ada, grace]);
    core.all_sent();
    for client in [ada, grace] {
        assert_eq!(core.closed(client), Some(Some(StreamCondition::NotAuthorized)));
    }
}

/// N and N-1: a link of the release before says nothing that its edge would not understand, and its sessions end
/// with it, as that edge believes they do.
#[test]
fn an_edge_of_the_release_before_is_served_as_before() {
    let mut core = Core::with_old_edges(2);
    core.friends("ada@example.org", "grace@example.org");
    let (ada, grace) = (core.login("ada@example.org/desk"), core.login("grace@example.org/phone"));
    for client in [ada, grace] {
        core.send(client, "<presence/>");
    }
    core.forget();
    core.send(ada, &message("grace@example.org", 1));
    assert_eq!(ids(&mut core, grace), ["1"]);
    assert!(core.edge(ada).sealed.is_empty() && core.edge(grace).logged.is_empty(), "frames of version 2");
    for shard in [0, 1] {
        core.old_link_down(shard);
    }
    assert!(core.shards.iter().all(|shard| shard.sessions.is_empty() && shard.links.is_empty()));
}

/// The answer to an `Attach` is lost with its link: the edge knows the session by its old generation still.
#[test]
fn an_edge_that_has_not_heard_of_the_new_generation_attaches_by_the_old_one() {
    for core_dies in [false, true] {
        let (mut core, ada, grace) = friends(2);
        core.relink();
        let before = core.generation(grace);
        core.attach(&[ada, grace]);
        core.all_sent();
        core.advance(limits::MARKS_STORE_MS);
        if core_dies {
            core.crash()
        } else {
            core.relink()
        }
        core.attach(&[ada]);
        core.not_heard(grace, before);
        core.attach(&[grace]);
        core.all_sent();
        assert_eq!(core.closed(grace), None);
        core.send(ada, &message("grace@example.org", 1));
        assert_eq!(ids(&mut core, grace), ["1"]);
    }
}

/// A link is lost while what waited is read for a session: on the next one it is read anew.
#[test]
fn what_was_being_read_comes_on_the_next_link() {
    let mut core = Core::new(1);
    core.account("ada@example.org");
    let grace = core.login("grace@example.org/phone");
    core.send(grace, "<message to='ada@example.org' id='1' type='chat'><body>b</body></message>");
    let ada = core.login("ada@example.org/desk");
    core.holding = true;
    core.send(ada, "<presence/>");
    core.relink();
    core.attach(&[ada, grace]);
    core.all_sent();
    core.holding = false;
    core.answer();
    let came = core.take(ada).iter().filter(|stanza| stanza.contains("id='1'")).count();
    assert_eq!(came, 1);
}

/// The error that answers a stanza comes ahead of the mark that covers it, over a new link, too.
#[test]
fn what_was_settled_without_a_link_is_told_behind_what_was_sent() {
    let (mut core, ada, grace) = friends(1);
    core.holding = true;
    core.put(ada, &message("grace@example.org", 1));
    core.run();
    core.relink();
    core.fail_one();
    core.holding = false;
    // Nobody could tell her edge. The mark of `Attached` is what that said (`testing/edge.rs`).
    core.unsettle(ada);
    core.attach(&[ada, grace]);
    core.all_sent();
    let [error] = &core.take(ada)[..] else { panic!("one answer") };
    assert!(error.starts_with("<message type='error' id='1'"), "{error}");
    assert_eq!(core.unsettled(ada), 0);
}

/// Of many messages that waited nothing could be stored but that they are there; behind them comes one that was owed, so
/// that they are not in the log's order.
#[test]
fn what_was_read_while_nothing_could_be_stored_does_not_come_again() {
    let (mut core, ada, grace) = friends(1);
    core.close(grace, true);
    for n in 0..100 {
        core.send(ada, &message("grace@example.org", n));
    }
    core.advance(limits::MARKS_STORE_MS);
    let grace = core.login("grace@example.org/phone");
    core.failing = true;
    core.send(grace, "<presence/>");
    assert_eq!(ids(&mut core, grace).len(), 100);
    for _ in 0..2 {
        core.crash();
        core.attach(&[ada, grace]);
        core.all_sent();
        assert_eq!(ids(&mut core, grace), [""; 0], "none twice");
        core.advance(20_000);
    }
    core.failing = false;
    core.advance(2 * limits::MARKS_STORE_MS);
    assert_eq!(core.edge(grace).logged, [], "the edge may forget them");
    core.crash();
    core.attach(&[ada, grace]);
    core.all_sent();
    assert_eq!(ids(&mut core, grace), [""; 0], "storage knows of all");
    core.send(ada, &message("grace@example.org", 100));
    assert_eq!(ids(&mut core, grace), ["100"]);
}

/// What others have had of a sender's does not come behind what it sent later (RFC 6120 §10.1), be it because its way
/// there ended with the core before.
#[test]
fn what_was_overtaken_is_refused() {
    let (mut core, ada, grace) = friends(1);
    core.holding = true;
    core.put(ada, &message("grace@example.org", 1));
    core.run();
    core.holding = false;
    core.crash();
    let stream = core.edge(ada).stream.unwrap();
    let stanza = crate::testing::stanza(&message("grace@example.org", 2));
    let account = hearth_wire::BareJid::parse("grace@example.org").unwrap();
    let ingest = Some(IngestId { stream, number: u64::MAX });
    let record = NewRecord { account: account.clone(), ingest, received_ms: core.now.utc_ms, stanza };
    assert!(matches!(core.ask_store(&account, Ask::Append { record }), Answer::Appended(_)));
    core.attach(&[ada, grace]);
    core.all_sent();
    assert_eq!(ids(&mut core, grace), ["2"]);
    let errors = core.take(ada).join("");
    assert!(errors.contains("type='error' id='1'") && errors.contains("resource-constraint"), "{errors}");
    assert_eq!(core.unsettled(ada), 0);
}

/// An edge that did not hear of it for two cores still has the socket.
#[test]
fn what_an_earlier_core_has_ended_is_not_adopted_by_a_later_one() {
    for settled in [true, false] {
        let (mut core, ada, grace) = friends(2);
        core.advance(limits::MARKS_STORE_MS);
        core.crash();
        core.attach(&[ada]);
        if settled {
            core.all_sent();
            let gone = "<presence type='unavailable' from='grace@example.org/phone' to='ada@example.org'/>";
            assert_eq!(core.take(ada), [gone]);
            core.advance(2 * limits::MARKS_STORE_MS);
        }
        core.crash();
        core.attach(&[ada, grace]);
        core.all_sent();
        let closed = settled.then_some(Some(StreamCondition::Reset));
        assert_eq!((core.closed(grace), core.closed(ada)), (closed, None), "{settled}");
        assert_eq!(core.session(grace).is_some(), !settled);
    }
}

/// Its bind and two deaths came within seconds.
#[test]
fn a_young_session_outlives_a_core_that_knew_nothing_of_it() {
    let (mut core, ada, grace) = friends(2);
    core.crash();
    core.attach(&[ada]);
    core.crash();
    core.attach(&[ada, grace]);
    core.all_sent();
    assert_eq!((core.closed(grace), core.closed(ada)), (None, None));
}

/// A session whose edge remembers all that it may is sent more as soon as the next core has stored that.
#[test]
fn who_read_much_before_a_crash_waits_for_no_round() {
    let (mut core, ada, grace) = friends(1);
    core.shards[0].settings.limits.unstored = 8;
    core.crash();
    core.attach(&[ada]);
    core.attach_as(grace, |attach| attach.recent = (1..=8).collect());
    core.all_sent();
    core.send(ada, &message("grace@example.org", 8));
    assert_eq!(ids(&mut core, grace), ["8"]);
}
