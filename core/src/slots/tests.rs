use super::*;
use crate::shard::Input;
use crate::testing::{Client, Core};
use hearth_wire::StreamCondition;
use hearth_wire::to_core::{AllSent, ToCore};

const ADA: &str = "ada@example.org";

fn slot(core: &Core, jid: &str) -> Slot {
    core.shards[0].settings.slot_key.slot(jid)
}

fn message(id: u32, to: &str) -> String {
    format!("<message to='{to}' id='{id}' type='chat'><body>b</body></message>")
}

fn ids(core: &mut Core, client: Client) -> Vec<String> {
    core.take_stanzas(client).iter().filter_map(|(stanza, _)| stanza.view().id.map(str::to_owned)).collect()
}

/// Two shards; ada on one, somebody on the other.
fn world() -> (Core, usize, String) {
    let core = Core::new(2);
    let from = core.owner(ADA);
    let other = core.name_on(1 - from, "grace");
    (core, from, other)
}

fn lease(core: &mut Core, shard: usize, epoch: SlotEpoch, to: usize) {
    let (slot, to) = (slot(core, ADA), ShardIndex::try_from(to).unwrap());
    core.input(shard, Input::SlotOwner { slot, epoch, shard: to });
    core.run();
}

#[test]
fn news_count_once_and_never_back() {
    let mut slots = Slots::new(3, 5);
    let slot = |n| Slot::new(n).unwrap();
    assert!(!slots.moved() && slots.runs().len() == usize::from(SLOTS));
    assert!(slots.learn(slot(4), 7, 2) && slots.moved());
    assert!(!slots.learn(slot(4), 7, 0) && !slots.learn(slot(4), 6, 0));
    assert_eq!((slots.owner(slot(4)), slots.epoch(slot(4)), slots.epoch(slot(5))), (2, 7, 5));
    assert_eq!(Slots::new(1, 5).runs(), [(slot(0), slot(SLOTS - 1), 5, 0)]);
}

#[test]
fn a_slot_moves_in_good_order() {
    let (mut core, from, grace) = world();
    let desk = core.login("ada@example.org/desk");
    let phone = core.login(&format!("{grace}/phone"));
    core.send(desk, "<presence/>");
    core.forget();
    // Delivered and not read: it waits in the log.
    core.writing = false;
    core.send(phone, &message(1, ADA));
    core.writing = true;
    let (slot, to) = (slot(&core, ADA), ShardIndex::try_from(1 - from).unwrap());
    core.input(from, Input::MoveSlot { slot, to });
    // On its way while the slot moves.
    core.put(phone, &message(2, ADA));
    core.run();
    assert_eq!(core.closed(desk), Some(Some(StreamCondition::Reset)));
    assert!(core.session(desk).is_none() && core.unsettled(phone) == 0);
    assert!(core.shards.iter().all(|shard| shard.slots.owner(slot) == to && !shard.slots.busy()));
    assert_eq!(core.stored(ADA).marks.undelivered.len(), 1);
    let desk = core.login("ada@example.org/desk");
    core.send(desk, "<presence/>");
    assert_eq!(ids(&mut core, desk), ["1", "2"]);
    // And back again.
    let back = ShardIndex::try_from(from).unwrap();
    core.input(usize::from(to), Input::MoveSlot { slot, to: back });
    core.run();
    assert_eq!(core.closed(desk), Some(Some(StreamCondition::Reset)));
    let desk = core.login("ada@example.org/desk");
    core.send(desk, "<presence/>");
    assert_eq!(ids(&mut core, desk), [""; 0]);
    assert!(core.session(desk).unwrap().generation.epoch > 2);
}

/// An operator's command may come to any shard, whatever moves meanwhile.
#[test]
fn a_command_finds_the_owner() {
    let (mut core, from, _) = world();
    core.account(ADA);
    let slot = slot(&core, ADA);
    let shards = [from, 1 - from].map(|shard| ShardIndex::try_from(shard).unwrap());
    core.input(from, Input::MoveSlot { slot, to: shards[1] });
    core.run();
    core.login_at("ada@example.org/desk", 1 - from);
    let ask = |core: &mut Core, shard: usize, command: &str| {
        core.command(shard, command, &[(if command == "sessions kick" { "jid" } else { "account" }, ADA)]);
        let [(0, reply)] = &std::mem::take(&mut core.replies)[..] else { panic!("one reply") };
        serde_json::to_string(reply).unwrap()
    };
    for shard in [0, 1] {
        assert!(ask(&mut core, shard, "user show").contains("\"sessions\":1"));
    }
    assert!(ask(&mut core, from, "sessions kick").contains("1 session ended"));
    // Behind the move that it overtakes.
    core.input(1 - from, Input::MoveSlot { slot, to: shards[0] });
    assert!(ask(&mut core, 1 - from, "user disable").contains("disabled"));
    assert!(core.stored(ADA).disabled.is_some());
    // Somebody else's, and whose is not known yet.
    core.with_cx(from, |cx| handover::lose(cx, slot));
    let refused = ask(&mut core, 1 - from, "user show");
    assert!(refused.contains("unavailable") && refused.contains("try again"), "{refused}");
}

/// The old owner writes on, is refused, and sends on what it was refused for.
#[test]
fn a_slot_taken_by_force_is_fenced() {
    let (mut core, from, grace) = world();
    let desk = core.login("ada@example.org/desk");
    let phone = core.login(&format!("{grace}/phone"));
    core.send(desk, "<presence/>");
    core.forget();
    // Only the new owner hears; the sender's shard is another, but it is the same one here.
    core.holding = true;
    core.put(phone, &message(1, ADA));
    core.run();
    core.holding = false;
    lease(&mut core, 1 - from, 1_000, 1 - from);
    core.answer();
    assert_eq!(core.closed(desk), Some(Some(StreamCondition::Reset)), "it learns by the refusal");
    assert_eq!(core.unsettled(phone), 1);
    core.send(phone, &message(2, ADA));
    lease(&mut core, from, 1_000, 1 - from);
    assert_eq!(core.unsettled(phone), 0);
    let desk = core.login_at("ada@example.org/desk", 1 - from);
    core.send(desk, "<presence/>");
    assert_eq!(ids(&mut core, desk), ["1", "2"]);
}

/// What the old owner has put off until its edges have returned their sessions comes before what comes directly.
#[test]
fn a_slot_that_moves_during_a_recovery_is_given_up_after_it() {
    let (mut core, from, grace) = world();
    let phone = core.login(&format!("{grace}/phone"));
    core.account(ADA);
    core.crash();
    core.attach(&[phone]);
    let all_sent = |core: &mut Core, shard| {
        core.frame(shard, &ToCore::AllSent(AllSent {}));
        core.run();
    };
    all_sent(&mut core, 1 - from);
    core.send(phone, &message(1, ADA));
    let (slot, to) = (slot(&core, ADA), ShardIndex::try_from(1 - from).unwrap());
    core.input(from, Input::MoveSlot { slot, to });
    core.send(phone, &message(2, ADA));
    all_sent(&mut core, from);
    assert_eq!(core.unsettled(phone), 0);
    let desk = core.login_at("ada@example.org/desk", 1 - from);
    core.send(desk, "<presence/>");
    assert_eq!(ids(&mut core, desk), ["1", "2"]);
}

/// Nobody else answers what its session was asked.
#[test]
fn an_answer_of_who_lost_its_slot_counts() {
    let (mut core, from, grace) = world();
    let (desk, phone) = (core.login("ada@example.org/desk"), core.login(&format!("{grace}/phone")));
    core.send(desk, &format!("<presence to='{grace}/phone'/>"));
    core.send(phone, "<iq type='get' id='q' to='ada@example.org/desk'><ping xmlns='urn:xmpp:ping'/></iq>");
    core.forget();
    lease(&mut core, 1 - from, 1_000, 1 - from);
    core.send(desk, &format!("<iq type='result' id='q' to='{grace}/phone'/>"));
    assert_eq!(ids(&mut core, phone), ["q"]);
    core.send(desk, &message(1, &format!("{grace}/phone")));
    assert_eq!(ids(&mut core, phone), [""; 0]);
}

/// An owner that is never heard of again costs its refused messages an error, and the new owner a wait.
#[test]
fn an_old_owner_that_hears_nothing_refuses_what_it_kept() {
    let (mut core, from, grace) = world();
    let phone = core.login(&format!("{grace}/phone"));
    core.account(ADA);
    core.holding = true;
    core.put(phone, &message(1, ADA));
    core.run();
    assert!(core.answer_one(), "ada is loaded");
    core.holding = false;
    let slot = slot(&core, ADA);
    let apply = hearth_storage::Ask::Apply { changes: Vec::new() };
    core.storage.answer(hearth_storage::Question { id: 0, slot, epoch: 1_000, ask: apply });
    core.answer();
    assert_eq!((core.shards[from].slots.owner(slot), core.unsettled(phone)), (NOBODY, 1));
    core.advance(crate::limits::SLOT_WAIT_MS + crate::limits::SLOT_TICK_MS);
    let [error] = &core.take(phone)[..] else { panic!("one answer") };
    assert!(error.contains("resource-constraint"), "{error}");
    assert_eq!(core.unsettled(phone), 0);
}

/// What a session of an older ownership still says counts no more; that it is gone does.
#[test]
fn frames_of_an_older_epoch_are_dropped() {
    let (mut core, from, grace) = world();
    core.friends(ADA, &grace);
    let desk = core.login("ada@example.org/desk");
    let phone = core.login(&format!("{grace}/phone"));
    core.send(phone, "<presence/>");
    core.send(desk, "<presence/>");
    core.forget();
    // The other shard hears that ada's slot is leased to itself; ada's shard does not.
    lease(&mut core, 1 - from, 1_000, 1 - from);
    core.send(desk, &message(1, &format!("{grace}/phone")));
    core.send(desk, "<presence><show>away</show></presence>");
    assert_eq!(core.take(phone), [""; 0]);
    assert_eq!(core.unsettled(desk), 2);
    lease(&mut core, from, 1_000, 1 - from);
    assert_eq!(core.take(phone), [format!("<presence type='unavailable' from='ada@example.org/desk' to='{grace}'/>")]);
}

/// A store that fails holds nobody up: who waits is told, and the slot is taken when it works again.
#[test]
fn a_slot_that_storage_does_not_give_is_asked_for_again() {
    let (mut core, from, grace) = world();
    let phone = core.login(&format!("{grace}/phone"));
    core.account(ADA);
    core.failing = true;
    let slot = slot(&core, ADA);
    let to = ShardIndex::try_from(1 - from).unwrap();
    core.input(from, Input::MoveSlot { slot, to });
    core.run();
    core.send(phone, &message(1, ADA));
    assert!(core.shards[usize::from(to)].slots.busy());
    core.failing = false;
    core.advance(crate::limits::SLOT_RETRY_MS + crate::limits::SLOT_TICK_MS);
    assert!(!core.shards[usize::from(to)].slots.busy());
    assert_eq!(core.unsettled(phone), 0);
    let desk = core.login_at("ada@example.org/desk", usize::from(to));
    core.send(desk, "<presence/>");
    assert_eq!(ids(&mut core, desk), ["1"]);
}
