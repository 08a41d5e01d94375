use crate::limits;
use crate::testing::{Client, Core};

const ADA: &str = "ada@example.org/desk";
const GRACE: &str = "grace@example.org/phone";

/// Ada and Grace, friends, both here.
fn friends(shards: u16) -> (Core, Client, Client) {
    let mut core = Core::new(shards);
    core.friends("ada@example.org", "grace@example.org");
    let (ada, grace) = (core.login(ADA), core.login(GRACE));
    for client in [ada, grace] {
        core.send(client, "<presence/>");
    }
    core.forget();
    (core, ada, grace)
}

fn ask(core: &mut Core, client: Client, to: &str, id: &str) {
    core.send(client, &format!("<iq type='get' id='{id}' to='{to}'><ping xmlns='urn:xmpp:ping'/></iq>"));
}

fn answer(core: &mut Core, client: Client, to: &str, id: &str) {
    core.send(client, &format!("<iq type='result' id='{id}' to='{to}'/>"));
}

/// Types and ids of the iqs that a client got.
fn iqs(core: &mut Core, client: Client) -> Vec<String> {
    let stanzas = core.take_stanzas(client);
    let iqs = stanzas.iter().map(|(stanza, _)| stanza.view()).filter(|view| view.kind == super::StanzaKind::Iq);
    iqs.map(|view| format!("{:?} {}", view.ty, view.id.unwrap_or_default())).collect()
}

/// The core dies after it settled a question of Ada's to Grace, whose edge has it.
fn crashed(shards: u16, open: bool) -> (Core, Client, Client) {
    let (mut core, ada, grace) = friends(shards);
    ask(&mut core, ada, GRACE, "q");
    assert_eq!((iqs(&mut core, grace), core.unsettled(ada)), (vec!["Get q".to_owned()], 0));
    core.crash();
    core.open(ada, open.then_some(("q", Some(GRACE))));
    core.attach(&[ada, grace]);
    core.all_sent();
    (core, ada, grace)
}

#[test]
fn who_ends_without_an_answer_is_answered_for_once() {
    for (shards, answered) in [(1, false), (2, false), (1, true), (3, true)] {
        for read in [false, true] {
            let (mut core, ada, grace) = friends(shards);
            core.writing = read;
            ask(&mut core, ada, GRACE, "q");
            assert_eq!(iqs(&mut core, grace), ["Get q"]);
            if answered {
                answer(&mut core, grace, ADA, "q");
            }
            core.close(grace, false);
            let expected = if answered { "Result q" } else { "Error q" };
            assert_eq!(iqs(&mut core, ada), [expected], "{shards} shards, answered: {answered}, read: {read}");
        }
    }
}

#[test]
fn of_many_questions_the_last_are_answered_for() {
    let (mut core, ada, grace) = friends(1);
    for n in 0..=limits::QUESTIONS_MAX {
        ask(&mut core, ada, GRACE, &format!("q{n}"));
    }
    core.close(grace, false);
    let errors = iqs(&mut core, ada);
    assert_eq!((errors.len(), errors[0].as_str()), (limits::QUESTIONS_MAX, "Error q1"));
}

#[test]
fn the_first_answer_after_a_crash_is_the_only_one() {
    for shards in [1, 2] {
        let (mut core, ada, grace) = crashed(shards, true);
        answer(&mut core, grace, ADA, "q");
        answer(&mut core, grace, ADA, "q");
        assert_eq!(iqs(&mut core, ada), ["Result q"]);
        core.advance(limits::OPEN_QUESTION_MS);
        assert_eq!(iqs(&mut core, ada), [""; 0]);
        // The same id again is another question.
        ask(&mut core, ada, GRACE, "q");
        answer(&mut core, grace, ADA, "q");
        assert_eq!(iqs(&mut core, ada), ["Result q"]);
    }
}

#[test]
fn what_a_crash_left_open_is_answered_for_in_time() {
    let (mut core, ada, grace) = crashed(2, true);
    core.advance(limits::OPEN_QUESTION_MS - 1);
    assert_eq!(iqs(&mut core, ada), [""; 0]);
    core.advance(1);
    let [error] = &core.take(ada)[..] else { panic!("one answer") };
    let expected = "<iq type='error' id='q' from='grace@example.org/phone' to='ada@example.org/desk'>";
    assert!(error.starts_with(expected) && error.contains("service-unavailable"), "{error}");
    answer(&mut core, grace, ADA, "q");
    assert_eq!(iqs(&mut core, ada), [""; 0], "too late");
}

#[test]
fn what_the_server_had_answered_is_known_at_once_to_be_lost() {
    let (mut core, ada, grace) = friends(1);
    core.crash();
    core.open(ada, Some(("q", None)));
    core.attach(&[ada, grace]);
    core.all_sent();
    core.advance(1);
    assert_eq!(iqs(&mut core, ada), ["Error q"]);
}

#[test]
fn an_answer_that_went_through_before_the_crash_does_not_come_again() {
    // An edge from before does not tell: then it is better twice than not at all.
    for (told, came) in [(true, 0), (false, 1)] {
        let (mut core, ada, grace) = friends(2);
        ask(&mut core, ada, GRACE, "q");
        answer(&mut core, grace, ADA, "q");
        assert_eq!(iqs(&mut core, ada), ["Result q"]);
        if !told {
            core.tells_no_questions(ada);
        }
        core.crash();
        // Her edge had not heard that it was settled.
        core.unsettle(grace);
        core.attach(&[ada, grace]);
        core.all_sent();
        assert_eq!((iqs(&mut core, ada).len(), core.unsettled(grace)), (came, 0), "told: {told}");
    }
}

/// It may be the second answer to a question that was asked again, behind two crashes. Else whatever comes for a
/// connected resource is delivered (RFC 6121 §8.5.3.1).
#[test]
fn what_answers_nothing_is_dropped_for_sessions_of_an_earlier_core() {
    for (crash, came) in [(true, 0), (false, 1)] {
        let (mut core, ada, grace) = friends(2);
        ask(&mut core, ada, GRACE, "q");
        answer(&mut core, grace, ADA, "q");
        assert_eq!(iqs(&mut core, ada), ["Result q"]);
        if crash {
            core.crash();
            core.attach(&[ada, grace]);
            core.all_sent();
        }
        for id in ["q", "never asked"] {
            answer(&mut core, grace, ADA, id);
            assert_eq!((iqs(&mut core, ada).len(), core.unsettled(grace)), (came, 0), "{id}, crash: {crash}");
        }
        ask(&mut core, ada, GRACE, "q");
        answer(&mut core, grace, ADA, "q");
        assert_eq!(iqs(&mut core, ada), ["Result q"], "crash: {crash}");
    }
}

#[test]
fn a_question_that_is_asked_again_has_one_answer() {
    let (mut core, ada, grace) = friends(2);
    ask(&mut core, ada, GRACE, "q");
    core.crash();
    core.unsettle(ada);
    core.attach(&[ada, grace]);
    core.all_sent();
    assert_eq!(iqs(&mut core, grace), ["Get q", "Get q"]);
    answer(&mut core, grace, ADA, "q");
    answer(&mut core, grace, ADA, "q");
    assert_eq!(iqs(&mut core, ada), ["Result q"]);
}

#[test]
fn later_questions_of_who_was_adopted_are_answered_over_a_lost_link() {
    let (mut core, ada, grace) = crashed(2, false);
    ask(&mut core, ada, GRACE, "r");
    assert_eq!(iqs(&mut core, grace), ["Get r"]);
    core.relink();
    core.attach(&[ada]);
    core.put(grace, "<iq type='result' id='r' to='ada@example.org/desk'/>");
    core.attach(&[grace]);
    core.all_sent();
    assert_eq!(iqs(&mut core, ada), ["Result r"]);
}

/// Of three questions one is answered and acknowledged, one answered, one neither.
#[test]
fn who_is_resumed_at_another_socket_takes_what_is_open_along() {
    let (mut core, ada, grace) = friends(2);
    let token = core.enable(ada, None);
    ask(&mut core, ada, GRACE, "q1");
    answer(&mut core, grace, ADA, "q1");
    let had = iqs(&mut core, ada).len();
    for id in ["q2", "q3"] {
        ask(&mut core, ada, GRACE, id);
    }
    core.close(ada, false);
    answer(&mut core, grace, ADA, "q2");
    let ada = core.resume("ada@example.org", &token, u32::try_from(had).unwrap());
    assert_eq!(iqs(&mut core, ada), ["Result q2"]);
    let open = [("q2", Some(GRACE)), ("q3", Some(GRACE))];
    let told: Vec<_> = core.edge(ada).open.iter().map(|(id, to)| (id.as_str(), to.as_deref())).collect();
    assert_eq!(told, open);
    core.forget();
    core.crash();
    core.attach(&[ada, grace]);
    core.all_sent();
    core.advance(limits::OPEN_QUESTION_MS);
    // As if it were lost on its way: the edge of this test does not tell that it passed.
    assert_eq!(iqs(&mut core, ada), ["Error q2", "Error q3"]);
}

/// However much waits for an account, an answer to its clients does not lie behind a refusal.
#[test]
fn an_answer_goes_past_what_is_full() {
    let (mut core, ada, grace) = friends(1);
    ask(&mut core, ada, GRACE, "q");
    iqs(&mut core, grace);
    // Of what is full there can be no less: one message that waits for the log, and a change that waits to be stored.
    core.shards[0].settings.limits.pending = 1;
    core.shards[0].settings.limits.account_queue = 0;
    core.holding = true;
    core.put(grace, "<message type='chat' to='ada@example.org'><body>1</body></message>");
    answer(&mut core, grace, ADA, "q");
    assert_eq!(iqs(&mut core, ada), ["Result q"], "behind the log");
    ask(&mut core, ada, GRACE, "r");
    core.put(ada, "<iq type='set' id='s'><query xmlns='jabber:iq:roster'><item jid='x@example.org'/></query></iq>");
    answer(&mut core, grace, ADA, "r");
    assert_eq!(iqs(&mut core, ada), ["Result r"], "while a change is stored");
}

/// It was sent, was not acknowledged, and comes behind what is read from the log again.
#[test]
fn an_answer_that_waits_a_second_time_is_still_the_first() {
    let (mut core, ada, grace) = friends(1);
    let token = core.enable(ada, None);
    core.forget();
    let session = core.session(ada).unwrap();
    let h = session.outbound.last - session.sm.as_ref().unwrap().entry;
    core.writing = false;
    core.send(grace, "<message type='chat' id='m' to='ada@example.org/desk'><body>b</body></message>");
    ask(&mut core, ada, GRACE, "q");
    core.crash();
    // It is asked again, and so remembered when it is answered; the message is known by its place in the log alone.
    core.unsettle(ada);
    core.attach(&[ada, grace]);
    core.all_sent();
    answer(&mut core, grace, ADA, "q");
    core.close(ada, false);
    core.writing = true;
    let ada = core.resume("ada@example.org", &token, u32::try_from(h).unwrap());
    let stanzas = core.take_stanzas(ada);
    let ids: Vec<_> = stanzas.iter().filter_map(|(stanza, _)| stanza.view().id.map(str::to_owned)).collect();
    assert_eq!(ids, ["m", "q"]);
}
