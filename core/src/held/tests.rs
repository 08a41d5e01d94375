//! What a shard holds in all, and who pays for it.

use crate::link::LinkId;
use crate::message::LOG_OFF;
use crate::shard::Input;
use crate::testing::{Client, Core, LINK};
use hearth_storage::DomainRecord;
use hearth_wire::StreamCondition;
use hearth_wire::stanza::StanzaKind;
use hearth_wire::to_core::{Hello, LinkCredit, StanzaIn, ToCore, VERSION_ATTACH, VERSION_MIN};

const LIMIT: u64 = 1024 * 1024;

/// Bytes of a body.
const BODY: usize = 5_000;

const PLENTY: u64 = 1 << 40;

fn core(log_off: bool) -> Core {
    let mut domain = DomainRecord::new("example.org");
    domain.set(LOG_OFF.name, log_off);
    let mut core = Core::with_domains(1, &[domain]);
    core.shards[0].settings.limits.held_bytes_all = LIMIT;
    core
}

/// An available session of an account of its own. One that does not read takes its own presence and little more.
fn online(core: &mut Core, name: &str, reads: bool) -> Client {
    core.credit = if reads { PLENTY } else { 2_000 };
    let client = core.login(&format!("{name}@example.org/desk"));
    core.credit = PLENTY;
    if !reads {
        core.stalled.insert(client);
    }
    core.send(client, "<presence/>");
    client
}

fn many(core: &mut Core, name: &str, count: usize, reads: bool) -> Vec<Client> {
    (0..count).map(|n| online(core, &format!("{name}{n}"), reads)).collect()
}

/// The text of a message with this number.
fn message(core: &Core, to: Client, ty: &str, id: usize) -> String {
    let body = "x".repeat(BODY);
    format!("<message to='{}' id='{id}' type='{ty}'><body>{body}</body></message>", core.jid(to))
}

/// Ids of the messages that a client got.
fn got(core: &mut Core, client: Client) -> Vec<usize> {
    let stanzas = core.take_stanzas(client);
    let messages = stanzas.iter().map(|(stanza, _)| stanza.view()).filter(|view| view.kind == StanzaKind::Message);
    messages.filter_map(|view| view.id?.parse().ok()).collect()
}

fn held(core: &Core, client: Client) -> usize {
    core.session(client).map_or(0, |session| session.outbound.held_bytes)
}

fn all_held(core: &Core) -> u64 {
    assert!(core.shards[0].held_is_exact());
    core.shards[0].held.bytes()
}

/// What an edge may still send on a link.
fn granted(core: &Core, link: LinkId) -> u64 {
    let link = &core.shards[0].links[&link];
    link.granted_bytes - link.received_bytes
}

/// The edge takes no more than it has.
fn fill(core: &mut Core) {
    let link = core.shards[0].links.get_mut(&LINK).unwrap();
    link.credit_bytes = link.sent_bytes;
}

/// The edge takes everything again.
fn empty(core: &mut Core) {
    core.frame(0, &ToCore::LinkCredit(LinkCredit { bytes: PLENTY }));
    core.run();
}

/// The client reads all there is.
fn reads_all(core: &mut Core, client: Client) -> Vec<usize> {
    core.stalled.remove(&client);
    let mut ids = got(core, client);
    core.reads(client, PLENTY);
    ids.extend(got(core, client));
    ids
}

#[test]
fn threat_019_an_edge_without_room_brings_no_more_and_another_does() {
    let mut core = core(true);
    let (sender, readers) = (online(&mut core, "grace", true), many(&mut core, "user", 40, true));
    core.shards[0].settings.limits.link_window_bytes = LIMIT / 4;
    core.shards[0].links.get_mut(&LINK).unwrap().granted_bytes = core.shards[0].links[&LINK].received_bytes + LIMIT / 4;
    let other = LinkId(7);
    core.input(0, Input::LinkUp(other));
    let hello = Hello {
        version_min: VERSION_MIN,
        version_max: VERSION_ATTACH,
        edge: "another",
        incarnation: 1,
        event_loop: 0,
        event_loops: 1,
        shard: 0,
        link_credit: PLENTY,
    };
    core.input(0, Input::Frame { link: other, frame: ToCore::Hello(hello), bytes: 100 });
    fill(&mut core);
    let mut sent = 0;
    while granted(&core, LINK) > 2 * BODY as u64 {
        let text = message(&core, readers[sent % readers.len()], "chat", sent);
        core.send(sender, &text);
        sent += 1;
        assert!(all_held(&core) <= LIMIT / 2 + LIMIT / 4 + 2 * BODY as u64, "{} after {sent}", all_held(&core));
    }
    assert!(all_held(&core) > LIMIT / 2);
    // What another edge brings, wherever it goes, is none of this link's.
    let stanza = vec![0; usize::try_from(LIMIT / 5).unwrap()];
    let generation = core.generation(sender);
    let frame = StanzaIn { counter: 1 << 20, generation, number: 1, fault: None, stanza: &stanza };
    core.input(0, Input::Frame { link: other, frame: ToCore::Stanza(frame), bytes: stanza.len() });
    core.run();
    assert_eq!(granted(&core, other), LIMIT / 4);
    empty(&mut core);
    assert_eq!((all_held(&core), granted(&core, LINK), core.unsettled(sender)), (0, LIMIT / 4, 0));
    assert_eq!(readers.iter().map(|reader| got(&mut core, *reader).len()).sum::<usize>(), sent);
}

#[test]
fn threat_019_clients_that_do_not_read_leave_the_rest_in_the_log_and_slow_down_nobody() {
    let mut core = core(false);
    let (grace, ada) = (online(&mut core, "grace", true), online(&mut core, "ada", true));
    let slow = many(&mut core, "slow", 8, false);
    for id in 0..60 {
        for client in &slow {
            let text = message(&core, *client, "chat", id);
            core.send(grace, &text);
            assert!(all_held(&core) <= LIMIT / 2 + 16 * BODY as u64, "{}", all_held(&core));
        }
    }
    assert!(slow.iter().all(|client| core.closed(*client).is_none()), "nothing of it is lost");
    // Who reads has all at once, and who is a little slow is held its share.
    let (window, slower) = (core.shards[0].settings.limits.link_window_bytes, online(&mut core, "slower", false));
    let texts = [message(&core, ada, "chat", 1), message(&core, slower, "chat", 2)];
    texts.iter().for_each(|text| core.send(grace, text));
    assert_eq!((got(&mut core, ada), held(&core, slower) > BODY), (vec![1], true));
    assert_eq!(core.unsettled(grace), 0);
    assert!(granted(&core, LINK) >= window / 2);
    for client in slow {
        assert_eq!(reads_all(&mut core, client), (0..60).collect::<Vec<_>>());
    }
    assert_eq!(reads_all(&mut core, slower), [2]);
    assert_eq!(all_held(&core), 0);
}

#[test]
fn what_the_log_has_makes_room_for_what_it_has_not() {
    let mut core = core(false);
    let grace = online(&mut core, "grace", true);
    // Half of the limit, so that nobody is behind yet.
    let slow = many(&mut core, "slow", 2, false);
    for id in 0..90 {
        let text = message(&core, slow[id % 2], "chat", id);
        core.send(grace, &text);
    }
    let is_behind = |core: &Core, client: Client| core.session(client).unwrap().outbound.behind.is_some();
    assert!(!slow.iter().any(|client| is_behind(&core, *client)));
    // A chat state of the same sender keeps its place; news are not logged.
    let state = "<composing xmlns='http://jabber.org/protocol/chatstates'/>";
    core.send(grace, &format!("<message to='slow0@example.org/desk' id='90' type='chat'>{state}</message>"));
    let noisy = many(&mut core, "noisy", 2, false);
    for id in 0..125 {
        let text = message(&core, noisy[id % 2], "headline", id);
        core.send(grace, &text);
        assert!(all_held(&core) <= LIMIT, "{}", all_held(&core));
    }
    let [first, second] = slow[..] else { panic!("two") };
    assert!(is_behind(&core, first) && is_behind(&core, second));
    assert!(slow.iter().all(|client| core.closed(*client).is_none()));
    let even: Vec<usize> = (0..=90).step_by(2).collect();
    assert_eq!(reads_all(&mut core, first), even, "in order, what no log has among it");
    assert_eq!(reads_all(&mut core, second), (1..90).step_by(2).collect::<Vec<_>>());
}

#[test]
fn threat_019_who_does_not_read_and_is_held_most_is_detached() {
    let mut core = core(true);
    let grace = online(&mut core, "grace", true);
    let (waits, late) = (online(&mut core, "waits", true), online(&mut core, "late", false));
    let slow = many(&mut core, "slow", 6, false);
    // Not the client of `waits` is to blame, but its edge: it is held more than any other.
    fill(&mut core);
    for id in 0..50 {
        let text = message(&core, waits, "headline", id);
        core.send(grace, &text);
    }
    core.send(grace, &message(&core, late, "headline", 0));
    let mut sent = 0;
    while slow.iter().all(|client| core.closed(*client).is_none()) {
        let text = message(&core, slow[sent % slow.len()], "headline", sent);
        core.send(grace, &text);
        sent += 1;
        assert!(all_held(&core) <= LIMIT, "{}", all_held(&core));
        assert!(sent < 1_000, "nobody is detached");
    }
    assert!(all_held(&core) <= LIMIT / 4 * 3);
    let detached = slow.iter().filter(|client| core.closed(**client).is_some()).count();
    assert!((1..=4).contains(&detached), "{detached} of six: not more than it takes");
    assert_eq!(core.closed(slow[0]).or(core.closed(slow[5])), Some(Some(StreamCondition::ResourceConstraint)));
    assert!(core.closed(waits).is_none() && core.closed(late).is_none());
    empty(&mut core);
    assert_eq!(got(&mut core, waits).len(), 50);
    assert_eq!(reads_all(&mut core, late), [0]);
}

/// Of a resource only the last presence is of use, once much is held.
#[test]
fn presence_is_held_once_where_much_is_held() {
    let mut core = core(true);
    let grace = online(&mut core, "grace", true);
    let (slow, ada) = (online(&mut core, "slow", false), online(&mut core, "ada", false));
    let presence = |core: &mut Core, n: usize| {
        let status = "x".repeat(BODY);
        let to = core.jid(ada).to_owned();
        core.send(grace, &format!("<presence to='{to}' id='{n}'><status>{status}</status></presence>"));
    };
    (0..5).for_each(|n| presence(&mut core, n));
    assert!(held(&core, ada) > 4 * BODY, "little is held in all");
    for id in 0..110 {
        let client = if core.shards[0].holds_much() { break } else { slow };
        let text = message(&core, client, "headline", id);
        core.send(grace, &text);
        if held(&core, slow) > 400_000 {
            break;
        }
    }
    let other = online(&mut core, "other", false);
    for id in 0..40 {
        let text = message(&core, other, "headline", id);
        core.send(grace, &text);
    }
    assert!(core.shards[0].holds_much());
    let before = held(&core, ada);
    (5..10).for_each(|n| presence(&mut core, n));
    assert!(held(&core, ada) <= before + 100, "{} after {before}", held(&core, ada));
    for client in [slow, other, ada] {
        core.close(client, true);
        assert!(core.session(client).is_none());
    }
    assert_eq!(all_held(&core), 0, "what has ended holds nothing");
}
