//! While storage is slow, full or failing: what needs the disk is refused at once, with `resource-constraint`
//! (type `wait`), before it is delivered and before it waits behind what is stuck; all else goes on. What was
//! asked of storage before is settled when it is answered, and not sooner.
//!
//! The condition comes as an input; the thresholds, the probes and the way back are in
//! `storage/src/health.rs`.

use crate::cx::Cx;
use hearth_storage::{Change, StoreError};

/// Whether messages that belong in the log are refused at present.
pub fn takes_no_messages(cx: &Cx<'_>) -> bool {
    cx.shard.storage.refusal().is_some()
}

/// Why these changes are not asked of storage as it is at present; `None`: they are.
pub fn unstorable(cx: &Cx<'_>, changes: &[Change]) -> Option<StoreError> {
    cx.shard.storage.refusal().filter(|_| !changes.iter().all(Change::is_urgent))
}

#[cfg(test)]
mod tests {
    use crate::shard::Input;
    use crate::testing::{Client, Core};
    use hearth_storage::{Condition, DomainRecord, Health};

    const ILL: [Condition; 3] = [Condition::Slow, Condition::Full, Condition::Failing];
    const RETRY: &str = "<error type='wait'><resource-constraint";

    fn tell(core: &mut Core, condition: Condition) {
        for shard in 0..core.shards.len() {
            let health = Health { condition, since_ms: 7, cause: String::new() };
            core.input(shard, Input::Storage(health));
        }
        core.run();
    }

    fn online(core: &mut Core, jid: &str) -> Client {
        let client = core.login(jid);
        core.send(client, "<presence/>");
        core.take(client);
        client
    }

    fn say(core: &mut Core, from: Client, id: &str, to: &str) {
        core.send(from, &format!("<message id='{id}' to='{to}' type='chat'><body>x</body></message>"));
    }

    #[test]
    fn messages_are_refused_before_delivery_and_taken_again() {
        for shards in [1, 3] {
            let mut core = Core::new(shards);
            let ada = online(&mut core, "ada@example.org/desk");
            let bob = online(&mut core, "bob@example.org/phone");
            core.account("eve@example.org");
            for condition in ILL {
                tell(&mut core, condition);
                for to in ["bob@example.org", "bob@example.org/phone", "eve@example.org"] {
                    say(&mut core, ada, "m", to);
                    let got = core.take(ada).concat();
                    assert!(got.contains(RETRY) && got.contains("id='m'"), "{condition:?} {to}: {got}");
                }
                assert!(core.take(bob).is_empty() && core.unsettled(ada) == 0);
                // Nobody waits in the log: nothing was stored.
                let eve = online(&mut core, "eve@example.org/web");
                core.close(eve, true);
                tell(&mut core, Condition::Ok);
                say(&mut core, ada, "again", "bob@example.org");
                assert!(core.take(bob).concat().contains("id='again'"));
            }
        }
    }

    #[test]
    fn what_needs_no_disk_goes_on() {
        let mut relay = DomainRecord::new("example.net");
        relay.set(crate::message::LOG_OFF.name, true);
        let mut core = Core::with_domains(2, &[relay, DomainRecord::new("example.org")]);
        core.friends("ada@example.org", "bob@example.org");
        let ada = online(&mut core, "ada@example.org/desk");
        let net = online(&mut core, "net@example.net/desk");
        core.account("bob@example.org");
        for condition in ILL {
            tell(&mut core, condition);
            let bob = core.login("bob@example.org/phone");
            core.send(bob, "<presence><show>away</show></presence>");
            assert!(core.take(bob).concat().contains("from='ada@example.org/desk'"));
            assert!(core.take(ada).concat().contains("<show>away</show>"));
            core.send(bob, "<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>");
            core.send(bob, "<iq type='get' id='p' to='example.org'><ping xmlns='urn:xmpp:ping'/></iq>");
            core.send(bob, "<iq type='get' id='v'><vCard xmlns='vcard-temp'/></iq>");
            let got = core.take(bob).concat();
            assert!(["r", "p", "v"].iter().all(|id| got.contains(&format!("id='{id}'"))), "{got}");
            assert!(!got.contains("error"), "{got}");
            core.send(bob, "<iq type='get' id='q' to='ada@example.org/desk'><query xmlns='urn:x'/></iq>");
            assert!(core.take(ada).concat().contains("id='q'"));
            say(&mut core, ada, "relayed", "net@example.net");
            assert!(core.take(net).concat().contains("id='relayed'"), "no log there");
            core.close(bob, true);
            core.take(ada);
        }
    }

    #[test]
    fn changes_are_refused_but_those_an_operator_needs() {
        let mut core = Core::with_registration(1, true);
        let ada = online(&mut core, "ada@example.org/desk");
        core.account_with_password("bob@example.org", "correct horse");
        let bob = core.bind("bob@example.org/phone");
        for condition in ILL {
            tell(&mut core, condition);
            for question in [
                "<vCard xmlns='vcard-temp'><FN>Ada</FN></vCard>",
                "<query xmlns='jabber:iq:roster'><item jid='bob@example.org'/></query>",
                "<query xmlns='jabber:iq:private'><x xmlns='urn:x'/></query>",
                "<block xmlns='urn:xmpp:blocking'><item jid='eve@example.org'/></block>",
            ] {
                core.send(ada, &format!("<iq type='set' id='s'>{question}</iq>"));
                let got = core.take(ada).concat();
                assert!(got.contains(RETRY), "{condition:?} {question}: {got}");
            }
            core.send(ada, "<presence type='subscribe' to='bob@example.org'/>");
            assert!(core.take(bob).is_empty() && core.unsettled(ada) == 0);
            core.take(ada);
            core.replies.clear();
            let add = [("account", "eve@example.org"), ("password", "correct horse")];
            core.command(0, "user add", &add);
            while core.derive_one() {}
            assert!(format!("{:?}", core.replies).contains("Error"), "{:?}", core.replies);
        }
        core.replies.clear();
        core.command(0, "user disable", &[("account", "bob@example.org")]);
        assert!(format!("{:?}", core.replies).contains("Ok"), "{:?}", core.replies);
        assert!(core.closed(bob).is_some() && core.stored("bob@example.org").disabled.is_some());
    }

    #[test]
    fn what_was_under_way_is_settled_when_it_is_answered() {
        for lost in [false, true] {
            let mut core = Core::new(1);
            let ada = online(&mut core, "ada@example.org/desk");
            let bob = online(&mut core, "bob@example.org/phone");
            core.holding = true;
            say(&mut core, ada, "stuck", "bob@example.org");
            tell(&mut core, Condition::Slow);
            assert_eq!((core.unsettled(ada), core.take(bob).len()), (1, 0));
            // Refused before the one that is stuck, which is still not answered for.
            say(&mut core, ada, "late", "bob@example.org");
            let got = core.take(ada).concat();
            assert!(got.contains(RETRY) && got.contains("id='late'") && !got.contains("stuck"), "{got}");
            assert_eq!((core.unsettled(ada), core.take(bob).len()), (2, 0), "its mark moves in order");
            if lost {
                core.fail_one();
                assert!(core.take(ada).concat().contains("id='stuck'") && core.take(bob).is_empty());
            } else {
                core.answer();
                assert!(core.take(bob).concat().contains("id='stuck'") && core.take(ada).is_empty());
            }
            assert_eq!(core.unsettled(ada), 0);
        }
    }

    #[test]
    fn what_is_there_already_is_not_refused_when_it_is_sent_again() {
        let mut core = Core::new(1);
        let ada = online(&mut core, "ada@example.org/desk");
        let bob = online(&mut core, "bob@example.org/phone");
        // The record is durable, the core dies before anybody hears of it.
        core.holding = true;
        say(&mut core, ada, "m", "bob@example.org");
        core.store_one();
        core.crash();
        core.holding = false;
        tell(&mut core, Condition::Full);
        core.attach(&[ada, bob]);
        core.all_sent();
        assert_eq!((core.take(ada), core.unsettled(ada)), (vec![], 0));
        assert!(core.take(bob).concat().contains("id='m'"));
    }

    #[test]
    fn status_says_so() {
        let mut core = Core::new(1);
        core.command(0, "status", &[]);
        assert!(format!("{:?}", core.replies).contains("\"storage\": String(\"ok\")"), "{:?}", core.replies);
        for condition in ILL {
            core.replies.clear();
            tell(&mut core, condition);
            core.command(0, "status", &[]);
            let status = format!("{:?}", core.replies);
            assert!(status.contains(condition.name()) && status.contains(condition.next().unwrap()), "{status}");
            assert!(status.contains("\"storage_since\": Number(7)"), "{status}");
        }
    }
}
