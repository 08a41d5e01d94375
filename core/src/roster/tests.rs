use super::*;
use crate::testing::{Client, Core};
use hearth_storage::Ask;
use hearth_wire::tree;

const ADA: &str = "ada@example.org";

fn interested(core: &mut Core, full: &str) -> Client {
    let client = core.login(full);
    core.send(client, "<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>");
    core.take(client);
    client
}

fn set(core: &mut Core, client: Client, item: &str) -> Vec<String> {
    core.send(client, &format!("<iq type='set' id='s'><query xmlns='jabber:iq:roster'>{item}</query></iq>"));
    core.take(client)
}

fn result(full: &str) -> String {
    format!("<iq type='result' id='s' to='{full}'/>")
}

fn pushed(core: &Core, to: &str, item: &str) -> String {
    let version = core.loaded(crate::route::bare(to)).unwrap().roster_version;
    format!(
        "<iq type='set' id='push-{version}' to='{to}'><query xmlns='jabber:iq:roster' ver='{version}'>{item}</query></iq>"
    )
}

#[track_caller]
fn refused(core: &mut Core, client: Client, item: &str, condition: StanzaCondition) {
    let before = core.stored(ADA);
    let answer = set(core, client, item);
    assert_eq!(answer.len(), 1, "{answer:?}");
    assert!(answer[0].starts_with("<iq type='error' id='s'"), "{answer:?}");
    assert!(answer[0].contains(&format!("<{} ", condition.element())), "{answer:?}");
    assert_eq!(core.stored(ADA), before);
    assert_eq!(core.unsettled(client), 0);
}

// RFC 6121 §2.1.3, §2.1.4
#[test]
fn get_returns_every_item() {
    let mut core = Core::new(1);
    core.contact(ADA, "grace@example.org", Subscription::Both);
    core.contact(ADA, "alan@example.org", Subscription::To);
    let desk = core.login("ada@example.org/desk");
    core.send(desk, "<iq type='get' id='r' to='ada@example.org'><query xmlns='jabber:iq:roster'/></iq>");
    assert_eq!(
        core.take(desk),
        ["<iq type='result' id='r' from='ada@example.org' to='ada@example.org/desk'>\
          <query xmlns='jabber:iq:roster' ver='0'>\
          <item jid='alan@example.org' subscription='to'/>\
          <item jid='grace@example.org' subscription='both'/></query></iq>"]
    );
}

// §2.1.6, §2.2: pushes are for who asked for the roster, the one that set included.
#[test]
fn set_is_answered_and_pushed_to_interested_resources() {
    let mut core = Core::new(1);
    let desk = interested(&mut core, "ada@example.org/desk");
    let laptop = interested(&mut core, "ada@example.org/laptop");
    let phone = core.login("ada@example.org/phone");
    let item = "<item jid='grace@example.org' name='Grace'><group>Navy</group><group>Yale</group></item>";
    let out =
        "<item jid='grace@example.org' name='Grace' subscription='none'><group>Navy</group><group>Yale</group></item>";
    let got = set(&mut core, desk, item);
    assert_eq!(got, [result("ada@example.org/desk"), pushed(&core, "ada@example.org/desk", out)]);
    assert_eq!(core.take(laptop), [pushed(&core, "ada@example.org/laptop", out)]);
    assert_eq!(core.take(phone), [""; 0]);
    assert_eq!(core.unsettled(desk), 0);
    assert_eq!(core.stored(ADA).roster.len(), 1);
}

// §2.1.6: what clients answer to pushes is ignored.
#[test]
fn answers_to_pushes_are_ignored() {
    let mut core = Core::new(1);
    let desk = interested(&mut core, "ada@example.org/desk");
    set(&mut core, desk, "<item jid='grace@example.org'/>");
    core.send(desk, "<iq type='result' id='push-1'/><iq type='error' id='push-1' to='ada@example.org'/>");
    assert_eq!(core.take(desk), [""; 0]);
    assert_eq!(core.unsettled(desk), 0);
}

// §2.4: an item is replaced as a whole; an empty name is none; what is the server's stays.
#[test]
fn update_replaces_name_and_groups_only() {
    let mut core = Core::new(1);
    core.contact(ADA, "grace@example.org", Subscription::Both);
    let desk = interested(&mut core, "ada@example.org/desk");
    set(&mut core, desk, "<item jid='grace@example.org' name='G'><group>Navy</group></item>");
    let got = set(&mut core, desk, "<item jid='Grace@EXAMPLE.org/desk' name='' subscription='none' ask='subscribe'/>");
    assert_eq!(got[1], pushed(&core, "ada@example.org/desk", "<item jid='grace@example.org' subscription='both'/>"));
    assert_eq!(core.stored(ADA).roster[0].name, None);
}

// §2.5
#[test]
fn remove_is_pushed_and_gone() {
    let mut core = Core::new(1);
    core.contact(ADA, "grace@example.org", Subscription::None);
    let desk = interested(&mut core, "ada@example.org/desk");
    let got = set(&mut core, desk, "<item jid='grace@example.org' subscription='remove'/>");
    let out = "<item jid='grace@example.org' subscription='remove'/>";
    assert_eq!(got, [result("ada@example.org/desk"), pushed(&core, "ada@example.org/desk", out)]);
    assert!(core.stored(ADA).roster.is_empty());
    // §2.5.3
    refused(&mut core, desk, "<item jid='grace@example.org' subscription='remove'/>", StanzaCondition::ItemNotFound);
}

// §2.1.5, §2.3.3
#[test]
fn malformed_sets_are_refused() {
    use StanzaCondition as C;
    let mut core = Core::new(1);
    let desk = interested(&mut core, "ada@example.org/desk");
    let long = "x".repeat(limits::ROSTER_NAME_BYTES_MAX + 1);
    for (item, condition) in [
        ("", C::BadRequest),
        ("<item jid='a@x'/><item jid='b@x'/>", C::BadRequest),
        ("<item name='a'/>", C::BadRequest),
        ("<item jid='a@x'><group>g</group><group>g</group></item>", C::BadRequest),
        ("<item jid='a@x'><group/></item>", C::NotAcceptable),
        ("<item jid='@x'/>", C::JidMalformed),
        ("<item jid=''/>", C::JidMalformed),
        ("<item jid='ada@example.org'/>", C::NotAllowed),
        ("<item jid='ada@example.org/desk'/>", C::NotAllowed),
        ("<item xmlns='urn:other' jid='a@x'/>", C::BadRequest),
        (&format!("<item jid='a@x' name='{long}'/>"), C::NotAcceptable),
        (&format!("<item jid='a@x'><group>{long}</group></item>"), C::NotAcceptable),
    ] {
        refused(&mut core, desk, item, condition);
    }
}

// §2.3.3: forbidden to everybody but the account's own resources.
#[test]
fn rosters_of_others_are_forbidden() {
    for shards in [1, 2] {
        let mut core = Core::new(shards);
        let grace = core.name_on(usize::from(shards) - 1, "grace");
        core.account(&grace);
        let desk = core.login(&format!("{}/desk", core.name_on(0, "ada")));
        for ask in ["<iq type='get' id='s' to='T'>Q</iq>", "<iq type='set' id='s' to='T'>Q</iq>"] {
            let query = "<query xmlns='jabber:iq:roster'><item jid='a@x'/></query>";
            core.send(desk, &ask.replace('T', &grace).replace('Q', query));
            let got = core.take(desk);
            assert!(got.len() == 1 && got[0].contains("<forbidden "), "{got:?}");
        }
        assert!(core.stored(&grace).roster.is_empty());
        assert_eq!(core.unsettled(desk), 0);
    }
}

// The disk is full: nobody is told of what did not happen.
#[test]
fn a_failed_write_changes_nothing() {
    let mut core = Core::new(1);
    core.contact(ADA, "grace@example.org", Subscription::Both);
    let desk = interested(&mut core, "ada@example.org/desk");
    core.failing = true;
    let before = core.loaded(ADA).unwrap().roster.clone();
    for item in ["<item jid='alan@example.org'/>", "<item jid='grace@example.org' subscription='remove'/>"] {
        refused(&mut core, desk, item, StanzaCondition::ResourceConstraint);
        assert_eq!(core.loaded(ADA).unwrap().roster, before);
    }
    core.failing = false;
    assert_eq!(set(&mut core, desk, "<item jid='alan@example.org'/>").len(), 2);
}

// Result and pushes follow the commit; what the client sends meanwhile waits in order.
#[test]
fn nothing_is_said_before_it_is_stored() {
    let mut core = Core::new(1);
    let desk = interested(&mut core, "ada@example.org/desk");
    core.holding = true;
    assert_eq!(set(&mut core, desk, "<item jid='grace@example.org'/>"), [""; 0]);
    core.send(desk, "<iq type='get' id='after'><query xmlns='jabber:iq:roster'/></iq>");
    assert_eq!((core.take(desk), core.unsettled(desk)), (vec![], 2));
    core.answer();
    let got = core.take(desk);
    assert_eq!(got[0], result("ada@example.org/desk"));
    assert!(got.len() == 3 && got[2].contains("id='after'") && got[2].contains("grace@example.org"), "{got:?}");
    assert_eq!(core.unsettled(desk), 0);
}

#[test]
fn threat_074_a_roster_has_limits() {
    let account = |contacts: usize, name: usize| {
        let slots = hearth_wire::ids::SlotKey([7; 16]);
        let mut account = Account::loading(BareJid::parse(ADA).unwrap(), slots.slot(ADA));
        for n in 0..contacts {
            let contact = BareJid::parse(&format!("c{n}@example.org")).unwrap();
            let name = (name > 0).then(|| "x".repeat(name).into());
            account.put_contact(&RosterItem { name, ..new_item(&contact) }, &slots);
        }
        let fits = |contact: &str, name: Option<&str>| {
            let contact = BareJid::parse(contact).unwrap();
            has_room(&account, &RosterItem { name: name.map(Into::into), ..new_item(&contact) }, &slots)
        };
        let long = "x".repeat(1001);
        let grows = fits("c1@example.org", Some(&long));
        (fits("new@example.org", None), fits("c1@example.org", Some("other")) && fits("c1@example.org", None), grows)
    };
    assert_eq!(account(limits::ROSTER_ITEMS_MAX - 1, 0), (true, true, true));
    assert_eq!(account(limits::ROSTER_ITEMS_MAX, 0), (false, true, true));
    let full = limits::ROSTER_BYTES_MAX / 1000;
    assert_eq!(account(full, 1000), (false, true, false));
    assert_eq!(account(full / 2, 1000), (true, true, true));
}

// §2.6
#[test]
fn an_equal_version_is_answered_without_the_roster() {
    let mut core = Core::new(1);
    let desk = interested(&mut core, "ada@example.org/desk");
    set(&mut core, desk, "<item jid='grace@example.org'/>");
    let version = core.loaded(ADA).unwrap().roster_version;
    let get = |core: &mut Core, ver: &str| {
        let phone = core.login("ada@example.org/phone");
        core.send(phone, &format!("<iq type='get' id='g'><query xmlns='jabber:iq:roster' ver='{ver}'/></iq>"));
        assert!(core.session(phone).unwrap().interested);
        core.take(phone).remove(0)
    };
    assert_eq!(get(&mut core, &version.to_string()), "<iq type='result' id='g' to='ada@example.org/phone'/>");
    for other in ["", "0", "1", "x"] {
        assert!(get(&mut core, other).contains("jid='grace@example.org'"), "{other}");
    }
}

// Versions only grow, also where the clock does not, and are stored with the change.
#[test]
fn versions_grow() {
    let mut core = Core::new(1);
    let desk = interested(&mut core, "ada@example.org/desk");
    let mut last = 0;
    for step in [0, 5, 0] {
        core.now.utc_ms += step;
        set(&mut core, desk, "<item jid='grace@example.org'/>");
        let version = core.stored(ADA).roster_version;
        assert!(version > last && version == core.loaded(ADA).unwrap().roster_version);
        last = version;
    }
}

// A backup is restored, the clock stands where it stood, and the roster changes otherwise than it had: what a
// client remembers of the changes that are lost is not taken for what there is now.
#[test]
fn a_restored_roster_is_never_up_to_date_by_chance() {
    let item = |name: &str| format!("<item jid='grace@example.org' name='{name}'/>");
    let (mut core, mut restored) = (Core::new(1), Core::new(1));
    let desk = interested(&mut core, "ada@example.org/desk");
    set(&mut core, desk, &item("saved"));
    let saved = core.stored(ADA);
    set(&mut core, desk, &item("lost"));
    let lost = core.stored(ADA).roster_version;

    let account = restored.account(ADA);
    let changes = vec![
        Change::PutRosterItem { account: account.clone(), item: saved.roster[0].clone() },
        Change::PutRosterVersion { account: account.clone(), version: saved.roster_version },
    ];
    assert!(matches!(restored.ask_store(&account, Ask::Apply { changes }), Answer::Applied));
    let desk = interested(&mut restored, "ada@example.org/desk");
    let get = format!("<iq type='get' id='g'><query xmlns='jabber:iq:roster' ver='{lost}'/></iq>");
    restored.send(desk, &get);
    assert!(restored.take(desk).concat().contains("name='saved'"), "newer than what the store has");
    set(&mut restored, desk, &item("other"));
    restored.send(desk, &get);
    assert!(restored.take(desk).concat().contains("name='other'"), "of another history");
}

#[test]
fn a_version_is_a_later_moment_and_chance() {
    let (mut last, now_ms) = (0, 1_700_000_000_000);
    for random in [0, u32::MAX, 1 << 31] {
        let version = next_version(last, now_ms, random);
        assert!(version > last && version >> VERSION_RANDOM_BITS >= now_ms);
        assert_ne!(version, next_version(last, now_ms, !random));
        last = version;
    }
    assert_eq!(next_version(0, u64::MAX, u32::MAX), u64::MAX);
    assert_eq!(next_version(u64::MAX, 0, u32::MAX), u64::MAX);
}

#[test]
fn streams_advertise_versions_and_pre_approval() {
    let domain = DomainRecord::new("example.org");
    let mut built = Builder::new();
    let add = FEATURE.stream_features.unwrap();
    add(&domain, &mut built);
    let built = built.finish();
    assert!(tree::child(&built, "urn:xmpp:features:rosterver", "ver").is_some());
    assert!(tree::child(&built, "urn:xmpp:features:pre-approval", "sub").is_some());
}
