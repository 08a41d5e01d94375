use super::*;
use hearth_wire::ids::Generation;
use hearth_wire::stanza::{Overlay, Stanza, StanzaIdOverlay, StanzaKind, StanzaType};
use hearth_wire::to_core::{Authenticate, ChannelBinding, Heartbeat, Security, StanzaIn};
use hearth_wire::to_edge::{Domain, Multicast, Target};
use hearth_wire::tree::Builder;
use proptest::prelude::*;

const GENERATION: Generation = Generation { epoch: 3, counter: 9 };

fn dump(direction: Direction, options: &[&str], input: &mut dyn Read) -> (bool, String) {
    let args = Args::from_args(&["wiredump"], options).unwrap();
    let mut output = Vec::new();
    let all_read = Dump::new(direction, &args).run(input, &mut output).unwrap();
    (all_read, String::from_utf8(output).unwrap())
}

fn to_core(bytes: &[u8]) -> (bool, String) {
    dump(Direction::ToCore, &[], &mut &*bytes)
}

fn message() -> Vec<u8> {
    let mut tree = Builder::new();
    tree.open(None, "body")
        .attr_ns("http://www.w3.org/XML/1998/namespace", "lang", "en")
        .text("a < b\u{1b}[2J")
        .close();
    tree.open(Some("urn:example:x"), "x").text("t").open(None, "y").attr("k", "it's").close().close();
    let payload = tree.finish();
    let stanza = Stanza {
        id: Some("1"),
        to: Some("a@b"),
        payload: &payload,
        ..Stanza::new(StanzaKind::Message, StanzaType::Chat)
    };
    stanza.encode()
}

fn stanza_in(stanza: &[u8]) -> Vec<u8> {
    let mut link = Vec::new();
    ToCore::Stanza(StanzaIn { counter: 7, generation: GENERATION, number: 1, fault: None, stanza }).encode(&mut link);
    link
}

#[test]
fn a_link_to_the_core() {
    let mut link = b"HEARTH\x02\x00".to_vec();
    ToCore::Heartbeat(Heartbeat {}).encode(&mut link);
    link.extend(stanza_in(&message()));
    let (all_read, text) = to_core(&link);
    assert!(!text.contains('\u{1b}'), "a stanza speaks to the terminal");
    let expected = "       0  preamble shard=2
       8  Heartbeat
      13  Stanza counter=7 generation=3.9 number=1
          <message type='chat' id='1' to='a@b'>
            <body xml:lang='en'>a &lt; b\\u{1b}[2J</body>
            <x xmlns='urn:example:x'>
              t
              <y k='it&apos;s'/>
            </x>
          </message>
          broken: payload is broken, too deep or not XML
";
    assert_eq!(text, expected, "{text}");
    assert!(all_read);
}

#[test]
fn a_link_to_the_edge() {
    let mut link = Vec::new();
    let mut features = Builder::new();
    features.open(Some("urn:ietf:params:xml:ns:xmpp-bind"), "bind");
    let features = features.finish();
    let domain = Domain {
        domain: "example.org",
        features_clear: &[],
        features_tls: &[],
        features_tls_end_point: &[],
        features_tls_exporter: &[],
        features_tls_bound: &[],
        features_authenticated: &features,
    };
    ToEdge::Domain(domain).encode(&mut link);
    let overlay =
        Overlay { to: Some("a@b/c"), stanza_id: Some(StanzaIdOverlay { id: "4", by: "a@b" }), ..Overlay::default() };
    let target = Target { counter: 7, generation: GENERATION, entry: 2, overlay };
    let stanza = Stanza::new(StanzaKind::Presence, StanzaType::Available).encode();
    ToEdge::Multicast(Multicast { targets: vec![target], stanza: &stanza }).encode(&mut link);
    let (all_read, text) = dump(Direction::ToEdge, &[], &mut &*link);
    let expected = "       0  Domain domain=\"example.org\"
          features_clear: none
          features_tls: none
          features_tls_end_point: none
          features_tls_exporter: none
          features_tls_bound: none
          features_authenticated:
            <bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>
      32  Multicast targets=1
          → counter=7 generation=3.9 entry=2 to=\"a@b/c\" stanza_id=(id=\"4\" by=\"a@b\")
          <presence type='(Available)'/>
";
    assert_eq!(text, expected, "{text}");
    assert!(all_read);
}

#[test]
fn passwords_are_shown_when_asked_for() {
    let mut link = Vec::new();
    let binding = ChannelBinding { tls_exporter: None, tls_server_end_point: None };
    ToCore::Authenticate(Authenticate {
        counter: 7,
        slot: hearth_wire::ids::Slot::new(1).unwrap(),
        epoch: 3,
        domain: "example.org",
        peer: [192, 0, 2, 1].into(),
        security: Security::Tls13,
        binding,
        mechanism: "PLAIN",
        initial: Some(b"\0ada\0secret"),
    })
    .encode(&mut link);
    let shown = "0061646100736563726574";
    for (options, visible) in
        [(&[][..], false), (&["--json"], false), (&["--bytes"], true), (&["--bytes", "--json"], true)]
    {
        let (all_read, text) = dump(Direction::ToCore, options, &mut &*link);
        assert!(all_read && text.contains(shown) == visible && !text.contains("secret"), "{options:?}: {text}");
    }
}

#[test]
fn hostile_bytes_are_one_line_each() {
    // No kind; a kind nobody knows; a body that is none; a stanza that is none; a length beyond all; and what follows it.
    let mut link = vec![0, 0, 0, 0, 2, 0, 0, 0, 99, 1, 2, 0, 0, 0, 8, 0xff];
    link.extend(stanza_in(b"?"));
    link.extend([0xff; 40]);
    let (all_read, text) = to_core(&link);
    assert!(!all_read);
    let expected = "       0  broken, 4 bytes: frame without a kind
       4  frame of kind 99, which this build does not know (1 bytes)
      10  broken, 6 bytes: frame of kind 8 does not decode
      16  Stanza counter=7 generation=3.9 number=1
          broken: 1 bytes that are no stanza
      28  broken, 0 bytes: frame of 4294967295 bytes, at most 2097152 are allowed: the rest cannot be read
";
    assert_eq!(text, expected, "{text}");
    let (all_read, text) = to_core(&stanza_in(&message())[..10]);
    assert_eq!((all_read, &*text), (false, "       0  broken, 10 bytes: 10 bytes of a frame that ends later\n"));
    let mut later = stanza_in(&message());
    later.extend([1, 2, 3]);
    later[0] += 3;
    assert!(to_core(&later).1.contains("(and 3 bytes of a later release)"));
}

#[test]
fn json_keeps_the_tree() {
    let (_, text) = dump(Direction::ToCore, &["--json"], &mut &*stanza_in(&message()));
    let line: serde_json::Value = serde_json::from_str(&text).unwrap();
    let stanza = &line["body"]["stanza"];
    assert_eq!((&line["name"], &stanza["kind"], &stanza["to"]), (&"Stanza".into(), &"message".into(), &"a@b".into()));
    assert_eq!(stanza["payload"][0]["attrs"][0]["value"], "en");
    assert_eq!(stanza["payload"][1]["nodes"][1]["ns"], "urn:example:x");
}

/// Gives its bytes in pieces of the sizes asked for.
struct Pieces<'a>(&'a [u8], std::iter::Cycle<std::vec::IntoIter<usize>>);

impl Read for Pieces<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let size = self.1.next().unwrap_or(1).clamp(1, into.len());
        self.0.read(&mut into[..size])
    }
}

/// A link on which something is wrong now and then.
fn link() -> impl Strategy<Value = Vec<u8>> {
    let frame = prop_oneof![
        2 => Just(stanza_in(&message())),
        1 => prop::collection::vec(any::<u8>(), 0..60).prop_map(|stanza| stanza_in(&stanza)),
        2 => (0..22u8, prop::collection::vec(any::<u8>(), 0..60)).prop_map(|(kind, body)| {
            [&[u8::try_from(body.len() + 1).unwrap(), 0, 0, 0, kind][..], &body].concat()
        }),
        1 => prop::collection::vec(any::<u8>(), 0..6),
    ];
    prop::collection::vec(frame, 0..8).prop_map(|frames| frames.concat())
}

proptest! {
    #[test]
    fn any_bytes_in_any_pieces(link in link(), sizes in prop::collection::vec(1usize..40, 1..5), to_core in any::<bool>()) {
        let direction = if to_core { Direction::ToCore } else { Direction::ToEdge };
        for options in [&[][..], &["--json"], &["--bytes"], &["--json", "--bytes"]] {
            let whole = dump(direction, options, &mut &*link);
            let mut pieces = Pieces(&link, sizes.clone().into_iter().cycle());
            prop_assert_eq!(&dump(direction, options, &mut pieces), &whole);
            if options.contains(&"--json") {
                let mut at = 0;
                for line in whole.1.lines() {
                    let line: serde_json::Value = serde_json::from_str(line).unwrap();
                    prop_assert_eq!(&line["at"], at);
                    at += line["bytes"].as_u64().unwrap();
                }
                let unreadable = whole.1.contains("the rest cannot be read");
                prop_assert!(unreadable || at == link.len() as u64, "{} of {} bytes", at, link.len());
            }
        }
    }
}
