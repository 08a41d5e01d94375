use super::*;
use hearth_wire::stanza::{StanzaIdOverlay, StanzaKind};
use hearth_wire::tree::Builder;

fn written(stanza: &Stanza<'_>, overlay: &Overlay<'_>) -> String {
    let mut out = Vec::new();
    super::stanza(stanza, overlay, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn body(text: &str) -> Vec<u8> {
    let mut tree = Builder::new();
    tree.leaf(None, "body", text);
    tree.finish()
}

fn message(payload: &[u8]) -> Stanza<'_> {
    Stanza {
        id: Some("m'1"),
        from: Some("ada@example.org/desk"),
        to: Some("grace@example.org"),
        lang: Some("en"),
        payload,
        ..Stanza::new(StanzaKind::Message, StanzaType::Chat)
    }
}

const DELAYED: Delay<'_> = Delay { from: "example.org", stamp_ms: 1_031_699_305_678 };

#[test]
fn plain_stanzas() {
    assert_eq!(
        written(&message(&body("1 < 2")), &Overlay::default()),
        "<message from='ada@example.org/desk' to='grace@example.org' id='m&apos;1' type='chat' xml:lang='en'>\
         <body>1 &lt; 2</body></message>"
    );
    let available = Stanza::new(StanzaKind::Presence, StanzaType::Available);
    assert_eq!(written(&available, &Overlay::default()), "<presence/>");
    let result = Stanza { id: Some("1"), ..Stanza::new(StanzaKind::Iq, StanzaType::Result) };
    assert_eq!(written(&result, &Overlay::default()), "<iq id='1' type='result'/>");
}

#[test]
fn each_recipient_gets_its_own() {
    let overlay = Overlay { to: Some("grace@example.org/phone"), ..Overlay::default() };
    let stanza = Stanza { to: Some("grace@example.org"), ..Stanza::new(StanzaKind::Presence, StanzaType::Available) };
    assert_eq!(written(&stanza, &overlay), "<presence to='grace@example.org/phone'/>");
    let overlay = Overlay {
        delay: Some(DELAYED),
        stanza_id: Some(StanzaIdOverlay { id: "7", by: "grace@example.org" }),
        ..overlay
    };
    assert_eq!(
        written(&stanza, &overlay),
        "<presence to='grace@example.org/phone'>\
         <delay xmlns='urn:xmpp:delay' from='example.org' stamp='2002-09-10T23:08:25.678Z'/>\
         <stanza-id xmlns='urn:xmpp:sid:0' id='7' by='grace@example.org'/></presence>"
    );
}

#[test]
fn nobody_else_writes_our_stanza_id() {
    let mut tree = Builder::new();
    for by in ["grace@example.org", "room@example.org"] {
        tree.open(Some(STANZA_ID), "stanza-id").attr("id", "forged").attr("by", by).close();
    }
    tree.open(Some(STANZA_ID), "stanza-id").attr("id", "by no one").close();
    tree.open(Some(STANZA_ID), "origin-id").attr("id", "o").close();
    tree.open(Some(FORWARD), "forwarded");
    tree.open(Some(STANZA_ID), "stanza-id").attr("id", "older").attr("by", "grace@example.org").close();
    tree.close();
    let payload = tree.finish();
    let stanza = Stanza { payload: &payload, ..Stanza::new(StanzaKind::Message, StanzaType::Normal) };
    let overlay =
        Overlay { stanza_id: Some(StanzaIdOverlay { id: "7", by: "grace@example.org" }), ..Overlay::default() };
    assert_eq!(
        written(&stanza, &overlay),
        "<message><stanza-id xmlns='urn:xmpp:sid:0' id='forged' by='room@example.org'/>\
         <origin-id xmlns='urn:xmpp:sid:0' id='o'/>\
         <forwarded xmlns='urn:xmpp:forward:0'>\
         <stanza-id xmlns='urn:xmpp:sid:0' id='older' by='grace@example.org'/></forwarded>\
         <stanza-id xmlns='urn:xmpp:sid:0' id='7' by='grace@example.org'/></message>"
    );
}

#[test]
fn carbons() {
    let carbon = |sent: bool| Carbon { sent, from: "grace@example.org", to: "grace@example.org/phone" };
    let overlay = Overlay {
        carbon: Some(carbon(false)),
        delay: Some(DELAYED),
        stanza_id: Some(StanzaIdOverlay { id: "7", by: "grace@example.org" }),
        ..Overlay::default()
    };
    assert_eq!(
        written(&message(&body("hi")), &overlay),
        "<message from='grace@example.org' to='grace@example.org/phone' type='chat'>\
         <received xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'>\
         <delay xmlns='urn:xmpp:delay' from='example.org' stamp='2002-09-10T23:08:25.678Z'/>\
         <message xmlns='jabber:client' from='ada@example.org/desk' to='grace@example.org' id='m&apos;1' type='chat' \
         xml:lang='en'><body>hi</body><stanza-id xmlns='urn:xmpp:sid:0' id='7' by='grace@example.org'/></message>\
         </forwarded></received></message>"
    );
    let sent = written(&message(&body("hi")), &Overlay { carbon: Some(carbon(true)), ..Overlay::default() });
    assert!(sent.contains("<sent xmlns='urn:xmpp:carbons:2'>") && sent.ends_with("</forwarded></sent></message>"));
}

fn rendered(build: impl FnOnce(&mut Builder), ns: &str) -> Result<String, WireError> {
    let mut tree = Builder::new();
    build(&mut tree);
    let mut out = Vec::new();
    nodes(&tree.finish(), ns, &mut out).map(|()| String::from_utf8(out).unwrap())
}

#[test]
fn namespaces_change_only_where_they_must() {
    let xml = rendered(
        |tree| {
            tree.open(Some("u"), "a").leaf(None, "b", "").open(Some(CLIENT), "c").leaf(Some(""), "d", "").close();
            tree.leaf(Some("u"), "e", "x").close().leaf(None, "f", "").text("y");
        },
        CLIENT,
    );
    let expected = "<a xmlns='u'><b/><c xmlns='jabber:client'><d xmlns=''/></c><e>x</e></a><f/>y";
    assert_eq!(xml.as_deref(), Ok(expected));
}

#[test]
fn attributes_of_namespaces() {
    let xml = rendered(
        |tree| {
            tree.open(None, "a")
                .attr("x", "1")
                .attr_ns(XML, "lang", "en")
                .attr_ns("u'", "x", "2")
                .attr_ns("v", "x", "\n");
            tree.open(None, "b").attr_ns("v", "x", "3");
        },
        CLIENT,
    );
    let expected = "<a x='1' xml:lang='en' xmlns:a002='u&apos;' a002:x='2' xmlns:a003='v' a003:x='&#10;'>\
                    <b xmlns:a000='v' a000:x='3'/></a>";
    assert_eq!(xml.as_deref(), Ok(expected));
}

#[test]
fn what_is_no_xml_is_not_written() {
    let names = ["", "a b", "a>", "a:b", "1", "-a", "a\u{0}", "a<", "𐐀", "a\n"];
    for name in names {
        assert_eq!(
            rendered(
                |tree| {
                    tree.leaf(None, name, "");
                },
                CLIENT
            ),
            Err(WireError::BadTree),
            "{name:?}"
        );
        let attribute = rendered(
            |tree| {
                tree.open(None, "a").attr(name, "");
            },
            CLIENT,
        );
        assert_eq!(attribute, Err(WireError::BadTree), "{name:?}");
    }
    assert_eq!(
        rendered(
            |tree| {
                tree.leaf(Some(XML), "a", "");
            },
            CLIENT
        ),
        Err(WireError::BadTree)
    );
    let controls = rendered(
        |tree| {
            tree.leaf(None, "a", "\u{0}\u{1b}[2J\u{ffff}");
        },
        CLIENT,
    );
    assert_eq!(controls.as_deref(), Ok("<a>\u{fffd}\u{fffd}[2J\u{fffd}</a>"));
    let broken = Stanza { payload: &[1, 9, 0, 0], ..Stanza::new(StanzaKind::Message, StanzaType::Chat) };
    let mut out = b"before".to_vec();
    assert_eq!(stanza(&broken, &Overlay::default(), &mut out), Err(WireError::BadTree));
    assert_eq!(out, b"before");
}

#[test]
fn depth_is_bounded_and_needs_no_stack() {
    let deep = |levels: usize| {
        rendered(
            |tree| {
                (0..levels).for_each(|_| {
                    tree.open(None, "a");
                })
            },
            CLIENT,
        )
    };
    assert_eq!(deep(tree::DEPTH_MAX).unwrap().matches("<a").count(), tree::DEPTH_MAX);
    assert_eq!(deep(100_000), Err(WireError::BadTree));
}
