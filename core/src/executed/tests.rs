use crate::limits;
use crate::testing::{Client, Core};
use hearth_storage::{Answer, Ask, Blob, Change, Executed, ExecutedStanza, RosterItem, Subscription};
use hearth_wire::ids::StreamId;
use hearth_wire::{BareJid, StreamCondition};

const ADA: &str = "ada@example.org";
const GRACE: &str = "grace@example.org";
const DONE: &str = "<iq type='result' id='s' to='ada@example.org/desk'/>";

/// Two resources of Ada's that hear of what changes.
fn two(core: &mut Core) -> [Client; 2] {
    let both = ["ada@example.org/desk", "ada@example.org/phone"].map(|jid| core.login(jid));
    for client in both {
        core.send(client, "<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq><presence/>");
        core.send(client, "<iq type='get' id='b'><blocklist xmlns='urn:xmpp:blocking'/></iq>");
    }
    core.forget();
    both
}

fn set(payload: &str) -> String {
    format!("<iq type='set' id='s'>{payload}</iq>")
}

fn named(name: &str) -> String {
    set(&format!("<query xmlns='jabber:iq:roster'><item jid='{GRACE}' name='{name}'/></query>"))
}

/// The desk's stanza is stored, behind this many reads, and the core dies before anybody hears of it. In the next
/// one the phone is first, with a stanza of its own.
fn lost(core: &mut Core, [desk, phone]: [Client; 2], stanza: &str, reads: usize, between: &str) {
    core.holding = true;
    core.send(desk, stanza);
    (0..reads).for_each(|_| assert!(core.answer_one()));
    core.store_one();
    assert_eq!((core.take(desk), core.unsettled(desk)), (vec![], 1));
    core.crash();
    core.holding = false;
    core.attach(&[phone]);
    core.put(phone, between);
    core.attach(&[desk]);
    core.all_sent();
    assert_eq!((core.unsettled(desk), core.unsettled(phone)), (0, 0));
}

fn item(core: &mut Core) -> Option<RosterItem> {
    core.stored(ADA).roster.pop()
}

fn stored_blob(core: &mut Core, blob: Blob) -> String {
    let account = BareJid::parse(ADA).unwrap();
    let Answer::Blob(Some(bytes)) = core.ask_store(&account.clone(), Ask::LoadBlob { account, blob }) else {
        panic!("nothing is kept")
    };
    String::from_utf8_lossy(&bytes).into_owned()
}

/// How often Ada's roster was told of, by version.
fn versions(stanzas: &[String]) -> Vec<&str> {
    stanzas.iter().filter_map(|stanza| stanza.split("ver='").nth(1)?.split('\'').next()).collect()
}

#[test]
fn a_roster_set_does_not_undo_what_another_resource_set() {
    for shards in [1, 2] {
        let mut core = Core::new(shards);
        let both @ [desk, phone] = two(&mut core);
        lost(&mut core, both, &named("X"), 0, &named("Y"));
        assert_eq!(item(&mut core).and_then(|item| item.name).as_deref(), Some("Y"));
        let (desk, phone) = (core.take(desk), core.take(phone));
        assert_eq!(desk.iter().filter(|stanza| *stanza == DONE).count(), 1, "{desk:?}");
        let version = core.stored(ADA).roster_version.to_string();
        for stanzas in [desk, phone] {
            // The phone's set, and what the desk's had no time to say: the roster as it is.
            assert_eq!(versions(&stanzas), [&version, &version], "{stanzas:?}");
            assert!(!stanzas.concat().contains("name='X'"), "{stanzas:?}");
        }
    }
}

#[test]
fn alone_it_is_told_and_raises_no_version() {
    let mut core = Core::new(1);
    let both @ [desk, phone] = two(&mut core);
    core.holding = true;
    core.send(desk, &named("X"));
    core.store_one();
    let version = core.stored(ADA).roster_version;
    core.crash();
    core.holding = false;
    core.attach(&both);
    core.all_sent();
    assert_eq!(core.stored(ADA).roster_version, version);
    for client in [desk, phone] {
        assert!(core.take(client).concat().contains("name='X'"));
    }
}

#[test]
fn what_was_not_stored_is_executed() {
    let mut core = Core::new(1);
    let both @ [desk, _] = two(&mut core);
    core.holding = true;
    core.send(desk, &named("X"));
    core.crash();
    core.holding = false;
    core.attach(&both);
    core.all_sent();
    assert_eq!(item(&mut core).and_then(|item| item.name).as_deref(), Some("X"));
    assert!(core.take(desk).contains(&DONE.to_owned()));
}

#[test]
fn a_removed_contact_is_told_once_and_for_all() {
    let remove = set(&format!("<query xmlns='jabber:iq:roster'><item jid='{GRACE}' subscription='remove'/></query>"));
    // Without a word of the phone's, as a contact again, and asked again.
    for (between, sees_ada) in [("<presence/>", false), (&named("Y"), false), ("", true)] {
        let subscribe = format!("<presence type='subscribe' to='{GRACE}'/>");
        let between = if sees_ada { subscribe.as_str() } else { between };
        let mut core = Core::new(2);
        core.friends(ADA, GRACE);
        let both @ [desk, _] = two(&mut core);
        lost(&mut core, both, &remove, 0, between);
        let got = core.take(desk).concat();
        assert!(got.contains(DONE) && !got.contains("error"), "{got}");
        // Ada sees Grace where she asked again: Grace's answer is what it was.
        let (ada, grace) = (item(&mut core), core.stored(GRACE).roster.pop().unwrap());
        let expected = if sees_ada { (Subscription::To, Subscription::From) } else { Default::default() };
        assert_eq!((ada.map(|item| item.subscription).unwrap_or_default(), grace.subscription), expected, "{between}");
    }
}

#[test]
fn a_subscription_goes_on_to_its_contact_unless_it_was_taken_back() {
    let presence = |ty: &str| format!("<presence type='{ty}' to='{GRACE}'/>");
    for shards in [1, 2] {
        for (taken_back, reached) in [(false, false), (false, true), (true, false), (true, true)] {
            let context = format!("{shards}, taken back {taken_back}, reached {reached}");
            let mut core = Core::new(shards);
            let [desk, phone] = two(&mut core);
            let grace = core.login("grace@example.org/tab");
            core.send(grace, "<presence/>");
            core.holding = true;
            core.send(desk, &presence("subscribe"));
            if reached {
                core.answer_one();
            }
            core.store_one();
            core.forget();
            let version = core.stored(ADA).roster_version;
            core.crash();
            core.holding = false;
            core.attach(&[phone, grace]);
            core.put(
                phone,
                if taken_back { "<presence type='unsubscribe' to='grace@example.org'/>" } else { "<presence/>" },
            );
            core.attach(&[desk]);
            core.all_sent();
            assert_eq!((core.unsettled(desk), core.unsettled(phone)), (0, 0));
            assert_eq!(core.stored(GRACE).requests.len(), usize::from(!taken_back), "{context}");
            assert_eq!(item(&mut core).unwrap().ask, !taken_back, "{context}");
            let asked = core.take(grace).iter().filter(|stanza| stanza.contains("type='subscribe'")).count();
            assert_eq!(asked, usize::from(!taken_back && !reached), "{context}");
            assert_eq!(core.stored(ADA).roster_version == version, !taken_back, "{context}");
        }
    }
}

#[test]
fn who_approved_is_seen_although_the_core_died() {
    let mut core = Core::new(2);
    let both = two(&mut core);
    let grace = core.login("grace@example.org/tab");
    core.send(grace, "<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq><presence/>");
    core.send(grace, &format!("<presence type='subscribe' to='{ADA}'/>"));
    core.forget();
    core.holding = true;
    core.send(both[0], &format!("<presence type='subscribed' to='{GRACE}'/>"));
    core.store_one();
    core.crash();
    core.holding = false;
    core.attach(&[both[0], both[1], grace]);
    core.all_sent();
    assert_eq!(core.stored(GRACE).roster[0].subscription, Subscription::To);
    let got = core.take(grace).concat();
    assert!(got.contains("from='ada@example.org/desk'") && got.contains("type='subscribed'"), "{got}");
}

#[test]
fn private_storage_and_the_vcard_keep_the_later_word() {
    let cases = [
        (Blob::Private, 1, "<query xmlns='jabber:iq:private'><a xmlns='urn:a'>WORD</a></query>"),
        (Blob::VCard, 0, "<vCard xmlns='vcard-temp'><FN>WORD</FN></vCard>"),
    ];
    for (blob, reads, payload) in cases {
        let mut core = Core::new(1);
        let both @ [desk, _] = two(&mut core);
        let word = |word| set(&payload.replace("WORD", word));
        lost(&mut core, both, &word("earlier"), reads, &word("later"));
        let kept = stored_blob(&mut core, blob);
        assert!(kept.contains("later") && !kept.contains("earlier"), "{kept}");
        assert_eq!(core.take(desk), [DONE]);
        assert_eq!(core.stored(ADA).executed.len(), 2, "one of each resource");
    }
}

#[test]
fn a_block_does_not_come_back() {
    let change = |what: &str| set(&format!("<{what} xmlns='urn:xmpp:blocking'><item jid='eve@example.org'/></{what}>"));
    for (first, then, blocked) in [("block", "unblock", false), ("unblock", "block", true)] {
        let mut core = Core::new(1);
        let both @ [desk, phone] = two(&mut core);
        if blocked {
            core.send(desk, &change("block"));
            core.forget();
        }
        lost(&mut core, both, &change(first), 0, &change(then));
        assert_eq!(core.stored(ADA).blocked.len(), usize::from(blocked));
        let (desk, phone) = (core.take(desk), core.take(phone));
        assert_eq!(desk.iter().filter(|stanza| *stanza == DONE).count(), 1, "{desk:?}");
        for stanzas in [desk, phone] {
            assert!(!stanzas.concat().contains(&format!("<{first} ")), "{stanzas:?}");
        }
    }
}

#[test]
fn all_that_was_unblocked_is_told_as_it_is() {
    let mut core = Core::new(1);
    let both @ [desk, phone] = two(&mut core);
    let block = |jid: &str| set(&format!("<block xmlns='urn:xmpp:blocking'><item jid='{jid}'/></block>"));
    core.send(desk, &block("eve@example.org"));
    core.forget();
    lost(&mut core, both, &set("<unblock xmlns='urn:xmpp:blocking'/>"), 0, &block("mal@example.org"));
    assert_eq!(core.stored(ADA).blocked, ["mal@example.org"].map(Box::from));
    let pushed: Vec<_> = core.take(phone).into_iter().filter(|stanza| stanza.contains("id='block-")).collect();
    let [_, all, left] = &pushed[..] else { panic!("{pushed:?}") };
    assert!(all.contains("<unblock xmlns='urn:xmpp:blocking'/>"), "{all}");
    assert!(left.contains("<block ") && left.contains("mal@example.org") && !left.contains("eve"), "{left}");
}

fn password(core: &mut Core) -> [Client; 2] {
    core.account_with_password(ADA, "pencil-pencil");
    let both @ [desk, _] = two(core);
    core.holding = true;
    let new = "<username>ada</username><password>correct horse</password>";
    core.send(desk, &set(&format!("<query xmlns='jabber:iq:register'>{new}</query>")));
    both
}

/// Of all who were there when the password changed only who changed it goes on.
#[test]
fn a_password_is_changed_once_by_who_goes_on() {
    for settled in [false, true] {
        let mut core = Core::new(1);
        let [desk, phone] = password(&mut core);
        assert!(core.derive_one());
        if settled {
            let sealed = core.edge(desk).sealed.clone();
            core.answer();
            assert_ne!(core.edge(desk).sealed, sealed, "its capsule is of the new credentials");
            assert_eq!(core.take(desk).last().map(String::as_str), Some(DONE));
        } else {
            core.store_one();
        }
        let credentials = core.stored(ADA).credentials;
        assert!(credentials.generation > 1);
        core.crash();
        core.holding = false;
        core.attach(&[desk]);
        if !settled {
            core.attach(&[phone]);
        }
        core.all_sent();
        assert_eq!((core.closed(desk), core.unsettled(desk)), (None, 0), "settled {settled}");
        assert_eq!(core.closed(phone), Some(Some(StreamCondition::NotAuthorized)));
        assert_eq!(core.take(desk), if settled { vec![] } else { vec![DONE.to_owned()] });
        assert_eq!(core.stored(ADA).credentials, credentials);
        // And over the core after that.
        core.crash();
        core.attach(&[desk]);
        core.all_sent();
        assert_eq!(core.closed(desk), None);
    }
}

#[test]
fn nobody_goes_on_under_a_password_that_another_changed_since() {
    let mut core = Core::new(1);
    let [desk, _] = password(&mut core);
    assert!(core.derive_one());
    core.store_one();
    let account = BareJid::parse(ADA).unwrap();
    let mut credentials = core.stored(ADA).credentials;
    credentials.generation += 1;
    let changes = vec![Change::SetCredentials { account: account.clone(), credentials: credentials.clone() }];
    assert!(matches!(core.ask_store(&account, Ask::Apply { changes }), Answer::Applied));
    core.crash();
    core.holding = false;
    core.attach(&[desk]);
    core.all_sent();
    assert_eq!(core.closed(desk), Some(Some(StreamCondition::NotAuthorized)));
    assert_eq!(core.stored(ADA).credentials, credentials);
}

/// XEP-0077 §3.2: its streams end with `not-authorized`, whichever core says so.
#[test]
fn who_removed_the_account_hears_that_it_is_gone() {
    let mut core = Core::new(1);
    let [desk, phone] = two(&mut core);
    core.holding = true;
    core.send(desk, &set("<query xmlns='jabber:iq:register'><remove/></query>"));
    core.store_one();
    core.crash();
    core.holding = false;
    core.attach(&[desk, phone]);
    core.all_sent();
    for client in [desk, phone] {
        assert_eq!(core.closed(client), Some(Some(StreamCondition::NotAuthorized)));
    }
    let account = BareJid::parse(ADA).unwrap();
    assert!(matches!(core.ask_store(&account.clone(), Ask::Load { account }), Answer::Loaded(None)));
}

/// A number alone is no name: whoever says something else under it is heard.
#[test]
fn another_stanza_of_the_same_number_is_executed() {
    for (says, name) in [("X", "Y"), ("Z", "Z")] {
        let mut core = Core::new(1);
        let [desk, phone] = two(&mut core);
        core.holding = true;
        core.send(desk, &named("X"));
        core.store_one();
        core.crash();
        core.holding = false;
        core.attach(&[phone]);
        core.put(phone, &named("Y"));
        core.said_instead(desk, &named(says));
        core.attach(&[desk]);
        core.all_sent();
        assert_eq!(item(&mut core).and_then(|item| item.name).as_deref(), Some(name));
        assert!(core.take(desk).contains(&DONE.to_owned()));
    }
}

fn executed(core: &mut Core) -> Vec<usize> {
    core.stored(ADA).executed.iter().map(|executed| executed.stanzas.len()).collect()
}

#[test]
fn the_list_is_short_and_goes_with_its_session() {
    let mut core = Core::new(1);
    let account = core.account(ADA);
    // Left by a session of which nobody knows.
    let stanzas = vec![ExecutedStanza { number: 1, hash: [1; 4] }];
    let old = Executed { stream: StreamId([9; 16]), credentials: None, stanzas };
    let changes = vec![Change::PutExecuted { account: account.clone(), executed: old }];
    assert!(matches!(core.ask_store(&account, Ask::Apply { changes }), Answer::Applied));
    let [desk, phone] = two(&mut core);
    core.send(desk, "<iq type='get' id='v'><vCard xmlns='vcard-temp'/></iq>");
    core.send(desk, &named("0"));
    assert_eq!(executed(&mut core), [1, 1], "an edge may return it yet");
    core.advance(limits::EXECUTED_ENDED_MS);
    core.send(desk, &named("1"));
    assert_eq!(executed(&mut core), [2], "its own, and no other");
    assert!(core.stored(ADA).executed[0].stream != StreamId([9; 16]));
    for n in 1..=limits::EXECUTED_MAX + 3 {
        core.send(desk, &named(&n.to_string()));
    }
    assert_eq!(executed(&mut core), [limits::EXECUTED_MAX]);
    core.advance(limits::EXECUTED_KEPT_MS);
    core.send(desk, &named("late"));
    core.send(phone, &named("other"));
    // The one before each was not known to be settled.
    assert_eq!(executed(&mut core), [2, 1]);
    core.close(desk, true);
    core.advance(limits::EXECUTED_ENDED_MS);
    core.send(phone, &named("last"));
    assert_eq!(executed(&mut core), [2]);
}

/// Executed long ago, and settled only now, since what came before it was not: its edge has not heard of that yet.
#[test]
fn what_is_settled_late_is_remembered_as_long() {
    let mut core = Core::new(1);
    core.account(ADA);
    let [desk, _] = two(&mut core);
    core.account("grace@example.org");
    core.holding = true;
    // To the log of somebody else, which takes its time; the change does not wait for it.
    core.put(desk, "<message type='chat' to='grace@example.org'><body>b</body></message>");
    core.put(desk, &named("0"));
    for what in ["grace is loaded", "the change is stored"] {
        core.run();
        assert!(core.answer_one(), "{what}");
    }
    core.run();
    assert_eq!(core.unsettled(desk), 2);
    core.advance(limits::EXECUTED_KEPT_MS);
    core.holding = false;
    core.answer();
    assert_eq!(core.unsettled(desk), 0);
    core.send(desk, &named("1"));
    assert_eq!(executed(&mut core), [2]);
}

#[test]
fn of_many_sessions_the_first_that_ended_are_forgotten() {
    let mut core = Core::new(1);
    core.account(ADA);
    let desk = core.login("ada@example.org/desk");
    core.send(desk, &named("first"));
    for n in 0..limits::EXECUTED_SESSIONS_MAX + 3 {
        core.advance(1);
        let short = core.login(&format!("ada@example.org/{n}"));
        core.send(short, &named(&n.to_string()));
        core.close(short, true);
    }
    assert_eq!(executed(&mut core).len(), limits::EXECUTED_SESSIONS_MAX);
    let stream = core.session(desk).unwrap().stream;
    assert!(core.stored(ADA).executed.iter().any(|of| of.stream == stream), "it lives");
}

#[test]
fn what_cannot_come_again_or_changed_nothing_is_not_noted() {
    let mut old = Core::with_old_edges(1);
    let desk = old.login("ada@example.org/desk");
    old.send(desk, &named("X"));
    assert_eq!((item(&mut old).is_some(), executed(&mut old)), (true, vec![]));
    // Its client may resume it.
    old.enable(desk, None);
    old.send(desk, &named("Y"));
    assert_eq!(executed(&mut old), [1]);
    let mut core = Core::new(1);
    let [desk, _] = two(&mut core);
    core.send(desk, &format!("<presence type='unsubscribe' to='{GRACE}'/>"));
    core.send(desk, &set("<unblock xmlns='urn:xmpp:blocking'/>"));
    core.failing = true;
    core.send(desk, &named("X"));
    core.failing = false;
    assert_eq!((item(&mut core), executed(&mut core)), (None, vec![]));
}

#[test]
fn a_contacts_change_is_not_the_senders() {
    for asked in [false, true] {
        let mut core = Core::new(1);
        core.contact(ADA, GRACE, Subscription::None);
        if asked {
            // Nothing changes of Ada's roster.
            let [account, grace] = [ADA, GRACE].map(|jid| BareJid::parse(jid).unwrap());
            let item = RosterItem { ask: true, ..crate::roster::new_item(&grace) };
            let changes = vec![Change::PutRosterItem { account: account.clone(), item }];
            assert!(matches!(core.ask_store(&account, Ask::Apply { changes }), Answer::Applied));
        }
        let [desk, _] = two(&mut core);
        let grace = core.login("grace@example.org/tab");
        core.send(desk, &format!("<presence type='subscribe' to='{GRACE}'/>"));
        assert_eq!((core.stored(GRACE).requests.len(), core.stored(GRACE).executed.len()), (1, 0));
        assert_eq!((executed(&mut core).len(), core.unsettled(grace)), (usize::from(!asked), 0));
    }
}

/// Its client may resume it with the next core, should the record be there still, and sends again what it has not heard of.
#[test]
fn what_waits_while_its_session_is_closed_is_noted() {
    let mut core = Core::new(1);
    let [desk, _] = two(&mut core);
    core.enable(desk, None);
    core.holding = true;
    core.send(desk, &named("one"));
    core.send(desk, &named("two"));
    core.close(desk, false);
    let of = |session: &crate::session::Session| session.jid.as_str() == "ada@example.org/desk";
    let key = core.shards[0].sessions.iter().find(|(_, session)| of(session)).map(|(key, _)| key).unwrap();
    core.with_cx(0, |cx| {
        cx.close_later(crate::session::SessionKey(key), StreamCondition::ResourceConstraint, "away too long");
    });
    core.run();
    core.holding = false;
    core.answer();
    core.advance(limits::MARKS_STORE_MS);
    assert!(core.session(desk).is_none());
    let stored = core.stored(ADA);
    assert_eq!(stored.roster.last().and_then(|item| item.name.as_deref()), Some("two"));
    let numbers: Vec<_> = stored.executed.iter().map(|of| of.stanzas.len()).collect();
    assert_eq!(numbers, [2]);
}
