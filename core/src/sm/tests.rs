use crate::limits;
use crate::outputs::Event;
use crate::testing::{Client, Core};
use hearth_wire::{StanzaCondition, StreamCondition};

/// Ada, available, with stream management; Grace, her friend; the token.
fn managed() -> (Core, Client, Client, String) {
    let mut core = Core::new(2);
    core.friends("ada@example.org", "grace@example.org");
    let (ada, grace) = (core.login("ada@example.org/desk"), core.login("grace@example.org/phone"));
    let token = core.enable(ada, None);
    for client in [grace, ada] {
        core.send(client, "<presence/>");
    }
    core.forget();
    (core, ada, grace, token)
}

fn message(to: &str, id: u32) -> String {
    format!("<message to='{to}' id='{id}' type='chat'><body>b</body></message>")
}

fn ids(core: &mut Core, client: Client) -> Vec<String> {
    core.take_stanzas(client).iter().filter_map(|(stanza, _)| stanza.view().id.map(str::to_owned)).collect()
}

/// What Ada has counted.
fn counted(core: &Core, client: Client) -> u32 {
    let session = core.session(client).unwrap();
    u32::try_from(session.outbound.last - session.sm.as_ref().unwrap().entry).unwrap()
}

#[test]
fn who_loses_the_socket_stays_and_goes_on() {
    let (mut core, ada, grace, token) = managed();
    core.writing = false;
    core.send(grace, &message("ada@example.org", 1));
    let h = counted(&core, ada);
    core.close(ada, false);
    assert_eq!(core.take(grace), [""; 0], "nobody is told");
    core.send(grace, &message("ada@example.org", 2));
    core.send(grace, "<iq type='get' id='q' to='ada@example.org/desk'><ping xmlns='urn:xmpp:ping'/></iq>");
    assert_eq!((core.take(grace).len(), core.unsettled(grace)), (0, 0));
    // It read the first, not what came later.
    core.forget();
    let again = core.resume("ada@example.org", &token, h);
    assert_eq!(core.jid(again), "ada@example.org/desk");
    assert_eq!(ids(&mut core, again), ["2", "q"]);
    let [number, sm_number, entry, sm_entry] = core.edge(again).resumed.unwrap();
    assert_eq!((number - sm_number, entry - sm_entry), (1, u64::from(h)));
    // And once more, from where it had read nothing of that.
    core.close(again, false);
    let third = core.resume("ada@example.org", &token, h);
    assert_eq!(ids(&mut core, third), ["2", "q"]);
    core.send(third, &message("grace@example.org", 3));
    assert_eq!(ids(&mut core, grace), ["3"]);
}

#[test]
fn the_old_socket_gets_a_conflict_and_is_not_heard_any_more() {
    let (mut core, ada, grace, token) = managed();
    let h = counted(&core, ada);
    let again = core.resume("ada@example.org", &token, h);
    assert_eq!(core.jid(again), "ada@example.org/desk");
    assert_eq!(core.closed(ada), Some(Some(StreamCondition::Conflict)));
    core.send(ada, &message("grace@example.org", 1));
    assert_eq!(ids(&mut core, grace), [""; 0]);
    core.close(ada, false);
    core.send(grace, &message("ada@example.org", 2));
    assert_eq!(ids(&mut core, again), ["2"]);
}

#[test]
fn what_was_accepted_is_settled_before_the_answer() {
    let (mut core, ada, grace, token) = managed();
    core.holding = true;
    core.put(ada, &message("grace@example.org", 1));
    core.run();
    let h = counted(&core, ada);
    let again = core.resume("ada@example.org", &token, h);
    assert_eq!(core.edge(again).resumed, None, "its message is not durable");
    core.answer();
    let [number, sm_number, ..] = core.edge(again).resumed.unwrap();
    assert_eq!(number - sm_number, 2);
    assert_eq!(ids(&mut core, grace), ["1"]);
}

#[test]
fn a_resumption_that_storage_holds_up_fails_and_may_be_tried_again() {
    let (mut core, ada, _, token) = managed();
    core.holding = true;
    core.put(ada, &message("grace@example.org", 1));
    core.run();
    let h = counted(&core, ada);
    let again = core.resume("ada@example.org", &token, h);
    core.advance(limits::RESUME_SETTLE_MS);
    assert_eq!(core.edge(again).failed, Some(StanzaCondition::ResourceConstraint));
    core.holding = false;
    core.answer();
    let third = core.resume("ada@example.org", &token, h);
    assert_eq!(core.jid(third), "ada@example.org/desk");
}

#[test]
fn a_token_is_of_one_account_and_one_session() {
    let (mut core, ada, _, token) = managed();
    core.close(ada, false);
    for (account, previd) in [("grace@example.org", token.as_str()), ("ada@example.org", "no"), ("ada@example.org", "")]
    {
        let other = core.resume(account, previd, 0);
        assert_eq!(core.edge(other).failed, Some(StanzaCondition::ItemNotFound), "{account} {previd}");
    }
    // Whoever failed may bind.
    core.login("ada@example.org/desk");
    assert!(core.events.iter().any(|event| matches!(event, Event::SessionEnded { .. })), "it took the resource");
    let late = core.resume("ada@example.org", &token, 0);
    assert_eq!(core.edge(late).failed, Some(StanzaCondition::ItemNotFound));
}

#[test]
fn more_than_was_sent_is_an_error() {
    let (mut core, ada, _, token) = managed();
    let h = counted(&core, ada);
    core.close(ada, false);
    for wrong in [h + 1, h.wrapping_sub(1), u32::MAX] {
        let other = core.resume("ada@example.org", &token, wrong);
        assert_eq!(core.closed(other), Some(Some(StreamCondition::UndefinedCondition)), "{wrong}");
    }
    let again = core.resume("ada@example.org", &token, h);
    assert_eq!(core.jid(again), "ada@example.org/desk");
}

#[test]
fn who_does_not_come_back_is_gone_and_the_messages_wait() {
    let (mut core, ada, grace, token) = managed();
    core.writing = false;
    core.send(grace, &message("ada@example.org", 1));
    let h = counted(&core, ada);
    core.close(ada, false);
    core.send(grace, &message("ada@example.org", 2));
    core.send(grace, "<iq type='get' id='q' to='ada@example.org/desk'><ping xmlns='urn:xmpp:ping'/></iq>");
    core.forget();
    core.advance(u64::from(limits::RESUME_S) * 1000 - 1);
    assert_eq!(core.take(grace), [""; 0]);
    core.advance(1);
    let told = core.take(grace);
    assert!(told.iter().any(|stanza| stanza.contains("unavailable") && stanza.starts_with("<presence")), "{told:?}");
    assert!(told.iter().any(|stanza| stanza.contains("id='q'") && stanza.contains("service-unavailable")), "{told:?}");
    assert_eq!(told.len(), 2);
    let late = core.resume("ada@example.org", &token, h);
    assert_eq!(core.edge(late).failed, Some(StanzaCondition::ItemNotFound));
    let desk = core.login("ada@example.org/desk");
    core.send(desk, "<presence/>");
    let waited = ids(&mut core, desk);
    assert_eq!(waited, ["1", "2"]);
}

#[test]
fn a_client_may_ask_for_less_time() {
    let mut core = Core::new(1);
    let ada = core.login("ada@example.org/desk");
    core.enable(ada, Some(5));
    assert_eq!(core.edge(ada).max_s, 5);
    core.close(ada, false);
    core.advance(5_000);
    assert!(core.shards[0].sessions.is_empty() && core.shards[0].parked.is_empty());
}

#[test]
fn a_stream_that_is_closed_properly_ends() {
    let (mut core, ada, grace, _) = managed();
    core.close(ada, true);
    assert!(core.take(grace).iter().any(|stanza| stanza.contains("unavailable")));
    assert!(core.shards.iter().all(|shard| shard.parked.is_empty()));
}

#[test]
fn a_parked_session_holds_little_and_loses_nothing() {
    let (mut core, ada, grace, token) = managed();
    let h = counted(&core, ada);
    core.close(ada, false);
    let long = "x".repeat(20 * 1024);
    for n in 0..60 {
        core.send(grace, &format!("<message to='ada@example.org' id='{n}' type='chat'><body>{long}</body></message>"));
        core.send(grace, &format!("<presence><status>{long}</status></presence>"));
    }
    let shard = &core.shards[core.owner("ada@example.org")];
    let held = shard.sessions.iter().find(|(_, s)| s.is_parked()).map(|(_, s)| s.outbound.held_bytes).unwrap();
    assert!(held <= limits::HELD_BYTES_MAX, "{held}");
    assert_eq!(core.unsettled(grace), 0);
    core.forget();
    let again = core.resume("ada@example.org", &token, h);
    let came = core.take_stanzas(again);
    let ids = came.iter().filter_map(|(stanza, _)| stanza.view().id.map(str::to_owned));
    assert_eq!(ids.collect::<Vec<_>>(), (0..60).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!(came.iter().filter(|(stanza, _)| stanza.view().id.is_none()).count(), 1, "the last presence");
}

#[test]
fn counting_passes_two_to_the_thirty_second() {
    let (mut core, ada, grace, token) = managed();
    core.writing = false;
    // As if four billion stanzas had come and been acknowledged.
    let at = core.owner("ada@example.org");
    let key = core.shards[at].sessions.iter().find(|(_, s)| s.jid.as_str() == "ada@example.org/desk").unwrap().0;
    let session = core.shards[at].sessions.get_mut(key).unwrap();
    let base = session.sm.as_ref().unwrap().entry;
    session.outbound.last = base + u64::from(u32::MAX);
    core.entry_is(ada, base + u64::from(u32::MAX));
    for n in 1..=3 {
        core.send(grace, &message("ada@example.org", n));
    }
    core.close(ada, false);
    core.forget();
    // It has the first of them: that is number 2^32.
    let again = core.resume("ada@example.org", &token, 0);
    assert_eq!(ids(&mut core, again), ["2", "3"]);
}

#[test]
fn an_edge_that_had_no_answer_asks_again() {
    let (mut core, ada, grace, token) = managed();
    core.relink();
    core.attach(&[ada, grace]);
    core.all_sent();
    assert_eq!(core.enable(ada, None), token);
    core.send(grace, &message("ada@example.org", 1));
    assert_eq!(counted(&core, ada), 1);
}

/// §5: a client that comes too late hears how much of what it sent was handled; nobody else does.
#[test]
fn who_comes_too_late_hears_what_was_handled() {
    let (mut core, ada, _, token) = managed();
    core.send(ada, &message("grace@example.org", 1));
    core.send(ada, &message("grace@example.org", 2));
    core.close(ada, false);
    core.advance(u64::from(limits::RESUME_S) * 1000);
    let late = core.resume("ada@example.org", &token, 0);
    let told = core.edge(late);
    assert_eq!((told.failed, told.handled), (Some(StanzaCondition::ItemNotFound), Some(3)), "presence, two messages");
    for (account, previd) in
        [("grace@example.org", token.as_str()), ("ada@example.org", "00"), ("ada@example.org", &"é".repeat(16))]
    {
        let other = core.resume(account, previd, 0);
        let told = core.edge(other);
        assert_eq!((told.failed, told.handled), (Some(StanzaCondition::ItemNotFound), None), "{account} {previd}");
    }
}

#[test]
fn of_ended_sessions_the_oldest_are_forgotten() {
    let mut ended = super::Ended::default();
    let token = |n: usize| u128::try_from(n).unwrap().to_be_bytes();
    let ada = hearth_wire::BareJid::parse("ada@example.org").unwrap();
    for n in 0..=limits::ENDED_MAX {
        ended.insert(token(n), ada.clone(), 7);
    }
    let handled = |n| ended.handled(&ada, &super::hex(&token(n)));
    assert_eq!((handled(0), handled(1), handled(limits::ENDED_MAX)), (None, Some(7), Some(7)));
    assert_eq!((ended.handled.len(), ended.order.len()), (limits::ENDED_MAX, limits::ENDED_MAX));
}

#[test]
fn a_message_whose_refusal_is_lost_is_not_said_to_be_handled() {
    let (mut core, ada, _, token) = managed();
    core.writing = false;
    core.send(ada, "<message to='nobody@elsewhere.example' id='1' type='chat'><body>b</body></message>");
    core.close(ada, false);
    core.advance(u64::from(limits::RESUME_S) * 1000);
    let late = core.resume("ada@example.org", &token, 0);
    let told = core.edge(late);
    assert_eq!((told.failed, told.handled), (Some(StanzaCondition::ItemNotFound), None));
}

const NOBODY: &str = "nobody@elsewhere.example";

/// As [`managed`], and Ada's edge may be sent nothing.
fn without_credit() -> (Core, Client, Client, String) {
    let mut core = Core::new(2);
    core.writing = false;
    let grace = core.login("grace@example.org/phone");
    core.send(grace, "<presence/>");
    core.credit = 0;
    let ada = core.login("ada@example.org/desk");
    let token = core.enable(ada, None);
    core.forget();
    (core, ada, grace, token)
}

#[test]
fn the_mark_waits_for_a_refusal_that_is_held() {
    let (mut core, ada, grace, _) = without_credit();
    core.send(ada, &message(NOBODY, 1));
    core.send(ada, &message("grace@example.org", 2));
    assert_eq!((core.take(ada), ids(&mut core, grace)), (vec![], vec!["2".to_owned()]));
    assert_eq!(core.unsettled(ada), 2, "should the core die now, its edge sends both again");
    core.reads(ada, 1 << 20);
    assert_eq!((ids(&mut core, ada), core.unsettled(ada)), (vec!["1".to_owned()], 0));
}

#[test]
fn a_refusal_that_was_held_when_the_core_died_comes_from_the_next() {
    let (mut core, ada, grace, _) = without_credit();
    core.send(ada, &message(NOBODY, 1));
    core.credit = 1 << 20;
    core.crash();
    core.attach(&[ada, grace]);
    core.all_sent();
    assert_eq!((ids(&mut core, ada), core.unsettled(ada)), (vec!["1".to_owned()], 0));
}

#[test]
fn who_has_a_refusal_held_while_away_is_not_restored() {
    for refused in [false, true] {
        let (mut core, ada, grace, token) = managed();
        let h = counted(&core, ada);
        core.holding = true;
        core.put(ada, &message("grace@example.org", 1));
        core.run();
        core.close(ada, false);
        if refused {
            core.fail_one();
        }
        core.holding = false;
        core.answer();
        core.advance(60_000);
        core.crash();
        core.attach(&[grace]);
        core.all_sent();
        let again = core.resume("ada@example.org", &token, h);
        let told = core.edge(again);
        let expected = refused.then_some(StanzaCondition::ItemNotFound);
        assert_eq!((told.failed, told.handled, told.resumed.is_some()), (expected, None, !refused));
    }
}

#[test]
fn a_resumption_is_answered_with_the_refusals_it_covers_or_not_at_all() {
    for takes in [true, false] {
        let (mut core, ada, _, token) = without_credit();
        let h = counted(&core, ada);
        core.send(ada, &message(NOBODY, 1));
        core.close(ada, false);
        core.credit = if takes { 1 << 20 } else { 10 };
        let again = core.resume("ada@example.org", &token, h);
        if takes {
            assert_eq!((ids(&mut core, again).join(" ").as_str(), core.jid(again)), ("1", "ada@example.org/desk"));
            continue;
        }
        assert_eq!(
            (core.edge(again).resumed, core.closed(again)),
            (None, Some(Some(StreamCondition::ResourceConstraint)))
        );
        let third = core.resume("ada@example.org", &token, h);
        assert_eq!((core.edge(third).failed, core.edge(third).handled), (Some(StanzaCondition::ItemNotFound), None));
    }
}

#[test]
fn who_is_not_resumed_in_time_may_bind() {
    let (mut core, ada, _, token) = managed();
    core.holding = true;
    core.put(ada, &message("grace@example.org", 1));
    core.run();
    let h = counted(&core, ada);
    let again = core.resume("ada@example.org", &token, h);
    core.advance(limits::RESUME_SETTLE_MS);
    assert_eq!(core.edge(again).failed, Some(StanzaCondition::ResourceConstraint));
    core.holding = false;
    core.answer();
    core.bind_there(again, "tablet");
    assert_eq!(core.jid(again), "ada@example.org/tablet");
}

#[test]
fn a_socket_that_closed_while_its_account_was_busy_leaves_no_login() {
    let (mut core, ada, _, token) = managed();
    let phone = core.login("ada@example.org/phone");
    core.holding = true;
    let h = counted(&core, ada);
    let again = core.resume("ada@example.org", &token, h);
    let change = "<query xmlns='jabber:iq:roster'><item jid='eve@example.org'/></query>";
    core.send(phone, &format!("<iq type='set' id='s'>{change}</iq>"));
    core.close(again, false);
    core.advance(limits::RESUME_SETTLE_MS);
    core.holding = false;
    core.answer();
    assert_eq!(core.shards.iter().map(|shard| shard.logins.len()).sum::<usize>(), 0);
    let third = core.resume("ada@example.org", &token, h);
    assert_eq!(core.jid(third), "ada@example.org/desk");
}
