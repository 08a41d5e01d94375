//! Hostile XML over real sockets, in every position and state: refused with the standard's condition, forwarded to
//! nobody, and noticed by nobody. Rows of `THREATS.md`.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "helpers of tests fail as tests do"
)]

mod common;

use common::bystander::{Bystander, HEADER, ends_with, fresh, secured, table};
use common::{Hearth, Options};
use hearth_tools::client::Client;
use hearth_tools::xml::{CLIENT, Item, STREAM};

/// A door, and whether it opens before the stream's header.
type Door = (&'static str, fn(&Hearth) -> Client);

/// Behind our header and features, in the clear.
fn opened(hearth: &Hearth) -> Client {
    let mut client = fresh(hearth);
    client.open().expect("opens");
    client
}

fn attacker(hearth: &Hearth) -> Client {
    hearth.login("ada", "attacker")
}

/// A stream that a header opens, before TLS, before login and after it.
const DOORS: [Door; 3] = [("in the clear", opened), ("before login", secured), ("after login", attacker)];

fn start() -> (Hearth, Bystander) {
    let hearth = Hearth::start(&Options::default());
    hearth.add("ada@example.org");
    let bystander = Bystander::new(&hearth);
    (hearth, bystander)
}

fn cpu_ticks(pid: i32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let behind = stat.rsplit(')').next().expect("its name").split_whitespace();
    behind.skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("ticks")).sum()
}

/// What RFC 6120 §11.1 forbids, and the conditions at the start, between stanzas, as text, in an attribute's value; in
/// a tag nothing of it is XML.
const RESTRICTED: [(&str, [&str; 4]); 13] = [
    ("<!-- x -->", MARKUP),
    ("<!---->", MARKUP),
    ("<?php x?>", MARKUP),
    ("<?xml version='1.0'?>", MARKUP),
    ("<?xml-stylesheet href='x'?>", MARKUP),
    ("<!DOCTYPE x>", MARKUP),
    ("<!DOCTYPE x [<!ENTITY lol 'lol'>]>", MARKUP),
    ("<!DOCTYPE x SYSTEM 'file:///etc/passwd'>", MARKUP),
    ("<!DOCTYPE x [<!ENTITY % lol SYSTEM 'http://127.0.0.1/'> %lol;]>", MARKUP),
    ("<!ENTITY lol 'lol'>", MARKUP),
    ("<!NOTATION lol SYSTEM 'lol'>", MARKUP),
    ("&lol;", REFERENCE),
    ("&nbsp;", REFERENCE),
];
const MARKUP: [&str; 4] = ["restricted-xml", "restricted-xml", "restricted-xml", "not-well-formed"];
const REFERENCE: [&str; 4] = ["not-well-formed", "bad-format", "restricted-xml", "restricted-xml"];

type Row = (String, Vec<u8>, &'static str);

fn play(hearth: &Hearth, bystander: &mut Bystander, door: fn(&Hearth) -> Client, rows: &[Row]) {
    let rows: Vec<(&str, &[u8], &str)> =
        rows.iter().map(|(name, bytes, wanted)| (&**name, &**bytes, *wanted)).collect();
    table(hearth, bystander, door, &rows);
}

fn text_row(name: &str, position: &str, text: String, wanted: &'static str) -> Row {
    (format!("{name} {position}"), text.into_bytes(), wanted)
}

#[test]
fn threat_005_restricted_xml_in_every_position() {
    let (hearth, mut bystander) = start();
    let mut rows = Vec::new();
    for (what, [first, _, _, attribute]) in RESTRICTED {
        if !what.starts_with("<?xml ") {
            rows.push(text_row(what, "as the first bytes", format!("{what}{HEADER}"), first));
        }
        rows.push(text_row(what, "behind the declaration", format!("<?xml version='1.0'?>{what}{HEADER}"), first));
        rows.push(text_row(what, "in the header", HEADER.replace("to=", &format!("{what} to=")), "not-well-formed"));
        rows.push(text_row(
            what,
            "in its attribute",
            HEADER.replace("'example.org'", &format!("\"{what}\"")),
            attribute,
        ));
    }
    play(&hearth, &mut bystander, fresh, &rows);
    for (door, open) in DOORS {
        let mut rows = Vec::new();
        for (what, [_, between, text, attribute]) in RESTRICTED {
            let to = "<message to='grace@example.org/bystander'";
            rows.push(text_row(what, &format!("between stanzas {door}"), what.to_owned(), between));
            rows.push(text_row(what, &format!("in text {door}"), format!("{to}><body>x{what}</body></message>"), text));
            rows.push(text_row(what, &format!("as child {door}"), format!("{to}>{what}<body/></message>"), text));
            rows.push(text_row(what, &format!("in an attribute {door}"), format!("{to} id=\"{what}\"/>"), attribute));
            rows.push(text_row(what, &format!("in a tag {door}"), format!("{to} {what}/>"), "not-well-formed"));
            rows.push(text_row(
                what,
                &format!("in an end tag {door}"),
                format!("{to}></message {what}>"),
                "not-well-formed",
            ));
        }
        play(&hearth, &mut bystander, open, &rows);
    }
}

/// Each costs no more than any stranger does, a millisecond of the edge's time at most, and none is expanded.
#[test]
fn threat_006_billion_laughs_cost_nothing() {
    const TIMES: u64 = 300;
    let (hearth, mut bystander) = start();
    let mut entities = String::from("<!ENTITY lol0 'lol'>");
    for level in 1..=9 {
        let inner = format!("&lol{};", level - 1).repeat(10);
        entities.push_str(&format!("<!ENTITY lol{level} '{inner}'>"));
    }
    let classic =
        format!("<?xml version='1.0'?><!DOCTYPE lolz [{entities}]>{HEADER}<message><body>&lol9;</body></message>");
    let quadratic = format!("<!DOCTYPE b [<!ENTITY a '{}'>]>{HEADER}<b>{}</b>", "a".repeat(4000), "&a;".repeat(1000));
    let external = format!("<!DOCTYPE x [<!ENTITY x SYSTEM 'file:///dev/zero'>]>{HEADER}<message>&x;</message>");
    let without = format!("{HEADER}<message><body>{}</body></message>", "&lol9;".repeat(1000));
    let edge = hearth.part("edge").expect("an edge");
    for (name, bomb) in [("classic", classic), ("quadratic", quadratic), ("external", external), ("bare", without)] {
        let before = cpu_ticks(edge);
        for _ in 0..TIMES {
            let mut client = fresh(&hearth);
            let _ = client.send(&bomb);
            assert_eq!(ends_with(&mut client, name), "restricted-xml");
        }
        let ms = (cpu_ticks(edge) - before) * 10;
        assert!(ms <= TIMES, "{name}: {ms} ms for {TIMES}");
        bystander.is_served(name);
    }
}

#[test]
fn threat_008_depth_is_refused_and_costs_nothing() {
    let (hearth, mut bystander) = start();
    let nested = |levels: usize| format!("{}{}", "<a>".repeat(levels), "</a>".repeat(levels));
    let deep = |levels: usize| format!("<message to='grace@example.org/bystander'>{}</message>", nested(levels - 1));
    // As much as a closing server reads and throws away: a client that writes on meets a closed door, and not its reason.
    let many = "<a>".repeat(80_000).into_bytes();
    for (name, door) in [("in the clear", DOORS[0].1), ("before login", DOORS[1].1)] {
        let rows: Vec<Row> = vec![
            (format!("nine levels {name}"), nested(9).into_bytes(), "policy-violation"),
            (format!("80,000 {name}"), many.clone(), "policy-violation"),
        ];
        play(&hearth, &mut bystander, door, &rows);
    }
    let rows = [
        ("65 levels".to_owned(), deep(65).into_bytes(), "policy-violation"),
        ("80,000".to_owned(), many, "policy-violation"),
    ];
    play(&hearth, &mut bystander, attacker, &rows);
    // As deep as is allowed, and to oneself.
    let mut ada = attacker(&hearth);
    ada.send(&deep(64).replace("grace@example.org/bystander", "ada@example.org/attacker")).expect("sends");
    let message = ada.receive_element().expect("it comes back");
    let mut depth = 1;
    let mut inner = &message;
    while let Some(child) = inner.children().next() {
        (depth, inner) = (depth + 1, child);
    }
    // The server's own <stanza-id/> lies beside, never above.
    assert_eq!(depth, 64, "{message}");
}

/// Every way to spell bytes that are no UTF-8 (Unicode §3.9, table 3-7), and what stands for no character of XML 1.0.
const NO_UTF_8: [(&str, &[u8]); 20] = [
    ("a continuation alone", b"\x80"),
    ("the last continuation alone", b"\xbf"),
    ("two bytes cut", b"\xc3"),
    ("two bytes with a letter", b"\xc3\x28"),
    ("overlong <", b"\xc0\xbc"),
    ("overlong NUL", b"\xc0\x80"),
    ("overlong in two", b"\xc1\xbf"),
    ("overlong / in three", b"\xe0\x80\xaf"),
    ("overlong in three", b"\xe0\x9f\xbf"),
    ("three bytes cut", b"\xe2\x82"),
    ("a high surrogate", b"\xed\xa0\x80"),
    ("a low surrogate", b"\xed\xbf\xbf"),
    ("a pair of them (CESU-8)", b"\xed\xa0\xbd\xed\xb8\x80"),
    ("overlong in four", b"\xf0\x80\x80\xbc"),
    ("four bytes cut", b"\xf0\x9f\x98"),
    ("beyond U+10FFFF", b"\xf4\x90\x80\x80"),
    ("f5", b"\xf5\x80\x80\x80"),
    ("five bytes", b"\xf8\x88\x80\x80\x80"),
    ("fe", b"\xfe"),
    ("ff", b"\xff"),
];

#[test]
fn threat_009_bytes_that_are_no_utf_8_in_every_position() {
    let (hearth, mut bystander) = start();
    let with = |before: &str, bad: &[u8], behind: &str| [before.as_bytes(), bad, behind.as_bytes()].concat();
    let mut rows: Vec<Row> = Vec::new();
    for (name, bad) in NO_UTF_8 {
        let (before, behind) = HEADER.split_once("example.org").expect("a domain");
        rows.push((format!("{name} in the header"), with(before, bad, behind), "unsupported-encoding"));
    }
    play(&hearth, &mut bystander, fresh, &rows);
    for (door, open) in [DOORS[1], DOORS[2]] {
        let mut rows: Vec<Row> = Vec::new();
        for (name, bad) in NO_UTF_8 {
            let to = "<message to='grace@example.org/bystander'";
            for (position, before, behind) in [
                ("text", format!("{to}><body>x"), "</body></message>"),
                ("an attribute", format!("{to} id='x"), "'/>"),
                ("an attribute's name", format!("{to} i"), "='x'/>"),
                ("an element's name", format!("{to}><b"), "/></message>"),
                ("CDATA", format!("{to}><body><![CDATA[x"), "]]></body></message>"),
                ("a namespace", format!("{to}><b xmlns='x"), "'/></message>"),
            ] {
                rows.push((format!("{name} in {position} {door}"), with(&before, bad, behind), "unsupported-encoding"));
            }
        }
        play(&hearth, &mut bystander, open, &rows);
    }
}

#[test]
fn threat_009_other_encodings() {
    let (hearth, mut bystander) = start();
    let units = |text: &str| text.encode_utf16().collect::<Vec<u16>>();
    let little = |text: &str| units(text).into_iter().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let big = |text: &str| units(text).into_iter().flat_map(u16::to_be_bytes).collect::<Vec<u8>>();
    let wide = |text: &str| text.chars().flat_map(|c| u32::from(c).to_be_bytes()).collect::<Vec<u8>>();
    let declared = format!("<?xml version='1.0' encoding='UTF-16'?>{HEADER}");
    let mut rows: Vec<Row> = Vec::new();
    for (name, text) in [("a header", HEADER), ("a declaration", &declared)] {
        rows.extend([
            (format!("UTF-16LE, {name}"), little(text), "unsupported-encoding"),
            (format!("UTF-16BE, {name}"), big(text), "unsupported-encoding"),
            (format!("UTF-16LE with mark, {name}"), [&b"\xff\xfe"[..], &little(text)].concat(), "unsupported-encoding"),
            (format!("UTF-16BE with mark, {name}"), [&b"\xfe\xff"[..], &big(text)].concat(), "unsupported-encoding"),
            (format!("UTF-32BE, {name}"), wide(text), "unsupported-encoding"),
            (
                format!("UTF-32BE with mark, {name}"),
                [&b"\0\0\xfe\xff"[..], &wide(text)].concat(),
                "unsupported-encoding",
            ),
        ]);
    }
    for encoding in ["UTF-16", "utf-7", "ISO-8859-1", "US-ASCII", "windows-1252", "EBCDIC-CP-US", "UTF8", "x"] {
        let text = format!("<?xml version='1.0' encoding='{encoding}'?>{HEADER}");
        rows.push((format!("declared {encoding}"), text.into_bytes(), "unsupported-encoding"));
    }
    // RFC 6120 §11.6: U+FEFF is not a mark but a character, and there is no text outside the stream.
    rows.push(("a UTF-8 mark".to_owned(), [&b"\xef\xbb\xbf"[..], HEADER.as_bytes()].concat(), "not-well-formed"));
    play(&hearth, &mut bystander, fresh, &rows);
    for (door, open) in DOORS {
        let rows: [Row; 2] = [
            (format!("UTF-16BE {door}"), big("<message/>"), "not-well-formed"),
            (format!("a mark between stanzas {door}"), b"\xef\xbb\xbf<message/>".to_vec(), "bad-format"),
        ];
        play(&hearth, &mut bystander, open, &rows);
    }
}

#[test]
fn threat_009_characters_that_xml_has_not() {
    let (hearth, mut bystander) = start();
    let forbidden = (0u32..0x20).filter(|c| ![9, 10, 13].contains(c)).chain([0xfffe, 0xffff]);
    let raw: Vec<(String, String)> = forbidden
        .clone()
        .filter_map(char::from_u32)
        .map(|c| (format!("U+{:04X}", u32::from(c)), c.to_string()))
        .collect();
    let references = forbidden.chain([0xd800, 0xdbff, 0xdc00, 0xdfff, 0x11_0000, 0x7fff_ffff, u32::MAX]);
    let references: Vec<(String, String)> =
        references.flat_map(|c| [format!("&#{c};"), format!("&#x{c:X};")]).map(|text| (text.clone(), text)).collect();
    let rows: Vec<Row> = raw
        .iter()
        .chain(&references)
        .chain([&("&#xD83D;&#xDE00;".to_owned(), "&#xD83D;&#xDE00;".to_owned())])
        .chain([
            &("overflow".to_owned(), "&#4294967361;".to_owned()),
            &("long".to_owned(), format!("&#{};", "9".repeat(99))),
        ])
        .flat_map(|(name, text)| {
            let to = "<message to='grace@example.org/bystander'";
            [
                text_row(name, "in text", format!("{to}><body>{text}</body></message>"), "not-well-formed"),
                text_row(name, "in an attribute", format!("{to} id='{text}'/>"), "not-well-formed"),
            ]
        })
        .collect();
    play(&hearth, &mut bystander, attacker, &rows);
    let cdata: Vec<Row> = raw
        .iter()
        .map(|(name, text)| {
            text_row(name, "in CDATA", format!("<message><body><![CDATA[{text}]]></body></message>"), "not-well-formed")
        })
        .collect();
    play(&hearth, &mut bystander, attacker, &cdata);
}

#[test]
fn threat_010_no_stream_in_a_stream() {
    let (hearth, mut bystander) = start();
    let to = "<message to='grace@example.org/bystander'>";
    let nested = [
        ("a header", HEADER.to_owned()),
        ("a header that is empty", "<stream:stream/>".to_owned()),
        ("a header in a stanza", format!("{to}{HEADER}</stream:stream></message>")),
        ("by another prefix", format!("{to}<s:stream xmlns:s='{STREAM}' to='example.org'/></message>")),
        ("by the default namespace", format!("{to}<stream xmlns='{STREAM}'/></message>")),
        ("two levels down", format!("{to}<body><x xmlns='urn:x'><stream:stream/></x></body></message>")),
        ("an error in a stanza", format!("{to}<stream:error/></message>")),
        ("features in a stanza", format!("{to}<stream:features/></message>")),
        ("whatever is of that namespace", format!("{to}<y xmlns='{STREAM}'/></message>")),
    ];
    for (door, open) in DOORS {
        let rows: Vec<Row> =
            nested.iter().map(|(name, text)| text_row(name, door, text.clone(), "bad-format")).collect();
        play(&hearth, &mut bystander, open, &rows);
    }
    let features = |wanted| [text_row("features", "of a client", "<stream:features/>".to_owned(), wanted)];
    play(&hearth, &mut bystander, secured, &features("not-authorized"));
    play(&hearth, &mut bystander, attacker, &features("unsupported-stanza-type"));
}

#[test]
fn threat_011_compression_is_neither_offered_nor_done() {
    let (hearth, mut bystander) = start();
    let offers = |client: &Client| client.features().map(ToString::to_string).unwrap_or_default();
    for (door, open) in [DOORS[0], DOORS[1]] {
        let features = offers(&open(&hearth));
        assert!(!features.is_empty() && !features.contains("compress"), "{door}: {features}");
    }
    let mut client = Client::connect(&hearth.server_direct()).expect("connects");
    client.open().expect("opens");
    let plain = hearth_tools::scram::Binding::None;
    client.authenticate(hearth_tools::scram::Hash::Sha256, "ada", common::PASSWORD, &plain).expect("logs in");
    assert!(!offers(&client).contains("compress"), "{}", offers(&client));
    let ask = "<compress xmlns='http://jabber.org/protocol/compress'><method>zlib</method></compress>";
    let zlib = [ask.as_bytes(), b"\x78\x9c\x4b\x04\x00\x00\x62\x00\x62"].concat();
    for (door, open, wanted) in [
        ("in the clear", DOORS[0].1, "not-authorized"),
        ("before login", DOORS[1].1, "not-authorized"),
        ("after login", DOORS[2].1, "unsupported-stanza-type"),
    ] {
        let rows: [Row; 2] = [
            text_row("compress", door, ask.to_owned(), wanted),
            (format!("with zlib behind it {door}"), zlib.clone(), wanted),
        ];
        play(&hearth, &mut bystander, open, &rows);
    }
}

/// RFC 6120 §4.9.3: every condition, some that do not exist and some that are no errors at all, said by the client
/// wherever it can say anything: its stream ends, and nothing else does.
#[test]
fn threat_017_stream_errors_of_clients_in_every_state() {
    let (hearth, mut bystander) = start();
    let parts = (hearth.part("edge"), hearth.part("core"));
    let conditions = [
        "bad-format",
        "bad-namespace-prefix",
        "conflict",
        "connection-timeout",
        "host-gone",
        "host-unknown",
        "improper-addressing",
        "internal-server-error",
        "invalid-from",
        "invalid-namespace",
        "invalid-xml",
        "not-authorized",
        "not-well-formed",
        "policy-violation",
        "remote-connection-failed",
        "reset",
        "resource-constraint",
        "restricted-xml",
        "see-other-host",
        "system-shutdown",
        "undefined-condition",
        "unsupported-encoding",
        "unsupported-feature",
        "unsupported-stanza-type",
        "unsupported-version",
        "no-such-condition",
    ];
    let ns = "urn:ietf:params:xml:ns:xmpp-streams";
    let mut errors: Vec<String> =
        conditions.map(|name| format!("<stream:error><{name} xmlns='{ns}'/></stream:error>")).to_vec();
    errors.extend([
        "<stream:error/>".to_owned(),
        format!("<stream:error><text xmlns='{ns}'>only words</text></stream:error>"),
        format!("<stream:error><see-other-host xmlns='{ns}'>[::1]:0</see-other-host></stream:error>"),
        format!("<stream:error><reset xmlns='{ns}'/><reset xmlns='{ns}'/><x xmlns='urn:x'/></stream:error>"),
        format!("<stream:error><reset xmlns='{ns}'/></stream:error></stream:stream>"),
        "<stream:error/><stream:error/>".to_owned(),
        format!("<error xmlns='{STREAM}'>words</error>"),
    ]);
    let challenged = |hearth: &Hearth| {
        let mut client = secured(hearth);
        let sasl = "urn:ietf:params:xml:ns:xmpp-sasl";
        client.send(&format!("<auth xmlns='{sasl}' mechanism='SCRAM-SHA-1'>biwsbj1hZGEscj14</auth>")).expect("sends");
        assert!(client.receive_element().expect("a challenge").is(sasl, "challenge"));
        client
    };
    let doors: [Door; 4] = [DOORS[0], DOORS[1], ("challenged", challenged), DOORS[2]];
    for (door, open) in doors {
        for error in &errors {
            let mut client = open(&hearth);
            client.send(error).expect("sends");
            let items = client.receive_until_closed().unwrap_or_else(|e| panic!("{door}: {error}: {e}"));
            assert_eq!(items, [Item::Close], "{door}: {error}");
        }
        bystander.is_served(door);
    }
    // Before any header it is no stream.
    let mut client = fresh(&hearth);
    client.send(&format!("<error xmlns='{STREAM}'/>")).expect("sends");
    assert_eq!(ends_with(&mut client, "before the header"), "bad-format");
    assert_eq!((hearth.part("edge"), hearth.part("core")), parts, "nobody died");
}

/// Whatever is cut wherever: a character in two writes is a character, and the second half alone is none.
#[test]
fn threat_009_a_character_in_two_writes() {
    let (hearth, _bystander) = start();
    let mut ada = attacker(&hearth);
    for text in ["é", "€", "😀", "\u{10ffff}"] {
        for cut in 1..text.len() {
            ada.send("<message to='ada@example.org/attacker' type='chat'><body>").expect("sends");
            ada.send_bytes(&text.as_bytes()[..cut]).expect("sends");
            std::thread::sleep(std::time::Duration::from_millis(20));
            ada.send_bytes(&text.as_bytes()[cut..]).expect("sends");
            ada.send("</body></message>").expect("sends");
            let message = ada.receive_element().expect("comes back");
            assert_eq!(message.child(CLIENT, "body").map(|body| body.text()).as_deref(), Some(text));
        }
    }
}
