//! Caps of what one account may have, each reached: the standard's error to who passes it, and nothing else happens.

use crate::limits;
use crate::testing::{Client, Core};
use hearth_storage::Subscription;

const ADA: &str = "ada@example.org";

/// What a client is answered.
fn answer(core: &mut Core, client: Client, stanza: &str) -> String {
    core.send(client, stanza);
    core.take(client).concat()
}

#[test]
fn threat_074_an_account_has_its_number_of_resources() {
    let mut core = Core::new(1);
    let most = limits::SESSIONS_PER_ACCOUNT_MAX;
    let clients: Vec<Client> = (0..most).map(|n| core.login(&format!("{ADA}/{n}"))).collect();
    let late = core.bind(&format!("{ADA}/late"));
    assert_eq!(core.jid(late), "", "one more is refused");
    assert_eq!(core.shards[0].sessions.len(), most);
    // Who comes as one that is there takes its place; who comes when one has left is let in.
    core.login(&format!("{ADA}/5"));
    core.close(clients[7], true);
    core.login(&format!("{ADA}/late"));
    assert_eq!(core.shards[0].sessions.len(), most);
    core.login("grace@example.org/desk");
}

#[test]
fn threat_074_messages_wait_up_to_a_number_and_a_size() {
    let mut core = Core::new(1);
    core.account(ADA);
    let bob = core.login("bob@example.org/desk");
    let message = |bytes: usize| format!("<message to='{ADA}' id='m'><body>{}</body></message>", "x".repeat(bytes));
    let few = 40;
    for _ in 0..few {
        assert_eq!(answer(&mut core, bob, &message(100_000)), "");
    }
    let most = limits::OFFLINE_BYTES / few;
    let refused = answer(&mut core, bob, &message(most + 1));
    assert!(refused.contains("<service-unavailable ") && refused.contains("type='error'"), "{refused}");
    assert_eq!(answer(&mut core, bob, &message(most - 1_000)), "", "a shorter one has room");
    for _ in few + 1..limits::OFFLINE_MESSAGES_MAX {
        assert_eq!(answer(&mut core, bob, &message(1)), "");
    }
    assert!(answer(&mut core, bob, &message(1)).contains("<service-unavailable "));
    // Nothing of that is lost, and there is no limit for who is there.
    let ada = core.login(&format!("{ADA}/desk"));
    core.send(ada, "<presence/>");
    let got = core.take(ada).concat();
    assert_eq!(got.matches("<message ").count(), limits::OFFLINE_MESSAGES_MAX);
    assert_eq!(answer(&mut core, bob, &message(250_000)), "");
    assert_eq!(core.unsettled(bob), 0);
}

#[test]
fn threat_074_a_vcard_has_its_size() {
    let mut core = Core::new(1);
    let ada = core.login(&format!("{ADA}/desk"));
    let vcard = |bytes: usize| {
        format!("<iq type='set' id='v'><vCard xmlns='vcard-temp'><DESC>{}</DESC></vCard></iq>", "x".repeat(bytes))
    };
    assert!(answer(&mut core, ada, &vcard(100)).contains("type='result'"));
    let refused = answer(&mut core, ada, &vcard(limits::VCARD_BYTES_MAX));
    assert!(refused.contains("<policy-violation "), "{refused}");
    let got = answer(&mut core, ada, "<iq type='get' id='g'><vCard xmlns='vcard-temp'/></iq>");
    assert!((100..1_000).contains(&got.len()), "the one before is still there");
    assert!(answer(&mut core, ada, &vcard(limits::VCARD_BYTES_MAX - 1_000)).contains("type='result'"));
}

#[test]
fn threat_074_an_account_asks_so_many_for_their_presence() {
    let mut core = Core::new(1);
    let ada = core.login(&format!("{ADA}/desk"));
    let ask = |n: u32| format!("<presence type='subscribe' id='s' to='c{n}@example.org'/>");
    for n in 0..limits::SUBSCRIPTIONS_MAX {
        assert!(!answer(&mut core, ada, &ask(n)).contains("constraint"), "{n}");
    }
    let refused = answer(&mut core, ada, &ask(9_999));
    assert!(refused.contains("<resource-constraint ") && refused.contains("type='wait'"), "{refused}");
    assert_eq!(core.stored(ADA).roster.len(), limits::SUBSCRIPTIONS_MAX as usize, "nothing of it is stored");
    // What asks nobody goes on, and so does everybody else.
    assert!(!answer(&mut core, ada, "<presence type='unsubscribe' id='u' to='c1@example.org'/>").contains("error"));
    let bob = core.login("bob@example.org/desk");
    assert!(!answer(&mut core, bob, &ask(9_999)).contains("constraint"));
    core.advance(limits::SUBSCRIPTIONS_WINDOW_MS);
    let ada = core.login(&format!("{ADA}/later"));
    assert!(!answer(&mut core, ada, &ask(9_999)).contains("constraint"));
    assert_eq!((core.unsettled(ada), core.unsettled(bob)), (0, 0));
}

#[test]
fn threat_074_one_presence_goes_to_contacts_and_directed_and_no_further() {
    let mut core = Core::new(1);
    let (contacts, directed) = (60, 15);
    for n in 0..contacts {
        core.contact(ADA, &format!("c{n}@example.org"), Subscription::From);
    }
    // Contacts that do not see Ada get nothing.
    (0..9).for_each(|n| core.contact(ADA, &format!("not{n}@example.org"), Subscription::None));
    let ada = core.login(&format!("{ADA}/desk"));
    let friend = core.login("c1@example.org/desk");
    core.send(friend, "<presence/>");
    core.take(friend);
    core.send(ada, "<presence><status>1</status></presence>");
    assert_eq!(core.take(friend).len(), 1, "once");
    let most = core.shards[0].stats.presence_recipients_most;
    assert_eq!(most, contacts);
    for n in 0..directed {
        core.send(ada, &format!("<presence to='d{n}@example.org'/>"));
    }
    core.send(ada, "<presence type='unavailable'/>");
    let stats = core.shards[0].stats;
    assert!(stats.presence_recipients_most <= contacts + directed, "{stats:?}");
    assert!(stats.presence_recipients <= 2 * contacts + directed, "{stats:?}");
    assert_eq!(core.take(friend).len(), 1, "once more");
    // What refuses more is tested beside the roster and beside directed presence.
    assert_eq!(limits::FANOUT_MAX, limits::ROSTER_ITEMS_MAX + limits::DIRECTED_MAX);
}
