//! Floods, and what a shard takes of them.

use crate::testing::{Client, Core, LINK};

const LIMIT: u64 = 1024 * 1024;

/// A core whose store answers nothing, and clients behind its one link.
fn flooded(clients: usize) -> (Core, Vec<Client>) {
    let mut core = Core::new(1);
    core.account("ada@example.org");
    let clients = (0..clients).map(|n| core.login(&format!("user{n}@example.org/desk"))).collect();
    let limits = &mut core.shards[0].settings.limits;
    limits.under_way_bytes = LIMIT;
    // No session of few is held back before the link is.
    limits.session_window_bytes = 64 * LIMIT;
    core.holding = true;
    (core, clients)
}

/// Bytes that the edge may still send on its link.
fn link_credit(core: &Core) -> u64 {
    let link = &core.shards[0].links[&LINK];
    link.granted_bytes - link.received_bytes
}

/// Sends as long as the link allows; how many stanzas that were.
fn flood(core: &mut Core, clients: &[Client], body: usize) -> usize {
    let text = format!("<message to='ada@example.org'><body>{}</body></message>", "x".repeat(body));
    let mut sent = 0;
    while link_credit(core) > 2 * text.len() as u64 {
        core.send(clients[sent % clients.len()], &text);
        sent += 1;
        assert!(sent < 2_000, "the link's credit has no end");
    }
    sent
}

#[test]
fn threat_019_a_flood_of_any_number_of_clients_stays_within_the_limit() {
    // A session of an edge that keeps its credit has at most its own window under way: fewer do not reach the limit of all.
    for count in [8, 40] {
        let (mut core, clients) = flooded(count);
        let sent = flood(&mut core, &clients, 20_000);
        let window = core.shards[0].settings.limits.link_window_bytes;
        let under_way = core.shards[0].under_way.bytes();
        assert!((LIMIT..=LIMIT + window).contains(&under_way), "{count}: {under_way} after {sent}");
        assert!(core.shards[0].under_way_is_exact());
        // Nothing moves until something is settled, and then all of it.
        core.run();
        assert!(link_credit(&core) < 100_000);
        core.holding = false;
        core.answer();
        assert_eq!(core.shards[0].under_way.bytes(), 0);
        assert!(clients.iter().all(|client| core.unsettled(*client) == 0), "all are settled");
        assert_eq!(link_credit(&core), window);
        assert!(core.shards[0].under_way_is_exact());
    }
}

#[test]
fn threat_019_a_new_link_brings_nothing_while_the_shard_takes_no_more() {
    let (mut core, clients) = flooded(40);
    flood(&mut core, &clients, 20_000);
    let full = core.shards[0].under_way.bytes();
    assert!(full > LIMIT);
    core.relink();
    core.attach(&clients);
    core.all_sent();
    let credit = |core: &Core| {
        let link = &core.shards[0].links[&core.link];
        assert!(link.up && link.greeted);
        link.granted_bytes - link.received_bytes
    };
    assert_eq!((credit(&core), core.shards[0].under_way.bytes()), (0, full));
    core.holding = false;
    core.answer();
    assert_eq!(
        (credit(&core), core.shards[0].under_way.bytes()),
        (core.shards[0].settings.limits.link_window_bytes, 0)
    );
    core.relink();
    assert_eq!(credit(&core), core.shards[0].settings.limits.link_window_bytes);
}

#[test]
fn threat_019_who_floods_is_granted_a_share_and_others_all() {
    let (mut core, clients) = flooded(41);
    let (quiet, loud) = clients.split_first().unwrap();
    flood(&mut core, loud, 20_000);
    let shard = &core.shards[0];
    let full = shard.settings.limits.session_window_bytes;
    assert_eq!(shard.window(&core.session(*quiet).unwrap().inbound), full, "its longest stanza fits");
    assert_eq!(shard.window(&core.session(loud[0]).unwrap().inbound), LIMIT / 40);
    // Below half of the limit everybody has all of it again.
    core.holding = false;
    core.answer();
    core.holding = true;
    core.send(loud[0], "<message to='ada@example.org'><body>again</body></message>");
    let shard = &core.shards[0];
    assert!(shard.under_way.bytes() > 0);
    assert_eq!(shard.window(&core.session(loud[0]).unwrap().inbound), full);
}

#[test]
fn what_waits_for_its_account_counts_and_what_ends_does_not() {
    let (mut core, clients) = flooded(2);
    let set = "<iq type='set' id='r'><query xmlns='jabber:iq:roster'><item jid='a@example.net'/></query></iq>";
    core.send(clients[0], set);
    let before = core.shards[0].under_way.bytes();
    core.send(clients[0], &format!("<presence><status>{}</status></presence>", "x".repeat(5_000)));
    assert!(core.shards[0].under_way.bytes() > before + 5_000, "it waits behind the roster set");
    core.holding = false;
    core.answer();
    assert_eq!(core.shards[0].under_way.bytes(), 0, "it has gone on");
    core.holding = true;
    core.send(clients[0], &set.replace("a@example.net", "b@example.net"));
    core.send(clients[0], "<presence><status>waits</status></presence>");
    core.send(clients[1], "<message to='ada@example.org'><body>x</body></message>");
    assert!(core.shards[0].under_way_is_exact());
    core.close(clients[1], true);
    core.close(clients[0], true);
    core.holding = false;
    core.answer();
    core.run();
    assert!(core.shards[0].under_way_is_exact());
    assert_eq!(core.shards[0].under_way.bytes(), 0);
}
