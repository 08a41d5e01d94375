//! A session driven by elements and frames; what it says, compared as frames and text.

use super::*;
use hearth_wire::codec::{self, FRAME_BYTES_MAX};
use hearth_wire::stanza::Overlay;
use hearth_wire::to_core::{Attach, LoggedEntry, OpenQuestion, OpenQuestions};
use hearth_wire::to_edge::{AskedBefore, Attached, Capsule, Stored};

const KEY: SlotKey = SlotKey([1; 16]);
const GENERATION: Generation = Generation { epoch: 2, counter: 3 };

fn session(credit: u64, lang: Option<&str>) -> Session {
    let bound =
        Bound { counter: 7, stream: StreamId([1; 16]), generation: GENERATION, jid: "me@a.example/Desk", credit };
    Session::new(&bound, lang, true)
}

fn encoded(xml: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let scope = xml::Scope::default();
    let (limits, mut scratch) = (xml::Limits::AUTHENTICATED, xml::Scratch::default());
    xml::parse_element(xml.as_bytes(), &scope, &limits, &mut scratch, &mut out).unwrap();
    out
}

fn element(bytes: &[u8]) -> Element<'_> {
    match tree::nodes(bytes, xml::CLIENT).next() {
        Some(tree::Node::Element(element)) => element,
        other => panic!("{other:?}"),
    }
}

/// What one stanza becomes: its fault and the envelope as text.
fn send(session: &mut Session, xml: &str) -> Result<(u64, Option<StanzaFault>, String), StreamCondition> {
    let (bytes, mut link, mut scratch) = (encoded(xml), Vec::new(), Vec::new());
    match session.on_element(7, &element(&bytes), u64::MAX, &mut scratch, &mut link)? {
        Taken::Sent => {}
        other => panic!("{other:?}"),
    }
    let (frame, used) = codec::split(&link, FRAME_BYTES_MAX).unwrap().unwrap();
    assert_eq!(used, link.len());
    let Some(ToCore::Stanza(frame)) = ToCore::decode(frame).unwrap() else { panic!("not a stanza") };
    assert_eq!((frame.counter, frame.generation), (7, GENERATION));
    let stanza = Stanza::decode(frame.stanza).unwrap();
    assert_eq!(stanza.from, None, "the core stamps it");
    let part = |name: &str, value: Option<&str>| value.map_or(String::new(), |value| format!(" {name}={value}"));
    let parts = part("id", stanza.id) + &part("to", stanza.to) + &part("lang", stanza.lang);
    Ok((frame.number, frame.fault, format!("{:?} {:?}{parts}", stanza.kind, stanza.ty)))
}

#[test]
fn envelopes_are_typed_and_prepared() {
    let rows = [
        ("<message to='You@A.Example/Desk' type='chat' id='1'/>", "Message Chat id=1 to=you@a.example/Desk lang=de"),
        ("<message type='strange' xml:lang='fr'><body/></message>", "Message Normal lang=fr"),
        ("<presence/>", "Presence Available lang=de"),
        ("<presence type='no' to='a.example.'/>", "Presence Unknown to=a.example lang=de"),
        ("<iq type='get' id='x'><q xmlns='urn:q'/></iq>", "Iq Get id=x lang=de"),
        ("<iq type='result' id='x' from='me@a.example'/>", "Iq Result id=x lang=de"),
        ("<message from='ME@a.example/Desk'/>", "Message Normal lang=de"),
    ];
    let mut session = session(u64::MAX, Some("de"));
    for (number, (xml, want)) in (1..).zip(rows) {
        assert_eq!(send(&mut session, xml), Ok((number, None, want.to_owned())), "{xml}");
    }
    assert_eq!(session.unsettled(), 7);
    assert_eq!(session.jid(), "me@a.example/Desk");
}

#[test]
fn faults_go_along_and_keep_their_number() {
    use StanzaFault::{BadRequest, JidMalformed};
    let rows = [
        ("<message to='@a'/>", JidMalformed, "Message Normal"),
        ("<message to='a@b@c d'/>", JidMalformed, "Message Normal"),
        ("<iq to='a@' type='get'/>", JidMalformed, "Iq Get"),
        ("<iq type='get'><q xmlns='urn:q'/></iq>", BadRequest, "Iq Get"),
        ("<iq type='get' id=''><q xmlns='urn:q'/></iq>", BadRequest, "Iq Get id="),
        ("<iq type='set' id='1'/>", BadRequest, "Iq Set id=1"),
        ("<iq type='set' id='1'>text</iq>", BadRequest, "Iq Set id=1"),
        ("<iq type='get' id='1'><a xmlns='u'/><b xmlns='u'/></iq>", BadRequest, "Iq Get id=1"),
        ("<iq type='result' id='1'><a xmlns='u'/><b xmlns='u'/></iq>", BadRequest, "Iq Result id=1"),
    ];
    let mut session = session(u64::MAX, None);
    for (number, (xml, fault, want)) in (1..).zip(rows) {
        assert_eq!(send(&mut session, xml), Ok((number, Some(fault), want.to_owned())), "{xml}");
    }
}

#[test]
fn what_is_no_stanza_of_this_client_ends_the_stream() {
    let rows = [
        ("<message from='you@a.example'/>", StreamCondition::InvalidFrom),
        ("<message from='me@a.example/desk'/>", StreamCondition::InvalidFrom),
        ("<message from='@'/>", StreamCondition::InvalidFrom),
        ("<message from=''/>", StreamCondition::InvalidFrom),
        ("<foo/>", StreamCondition::UnsupportedStanzaType),
        ("<message xmlns='urn:other'/>", StreamCondition::UnsupportedStanzaType),
        ("<compress xmlns='http://jabber.org/protocol/compress'/>", StreamCondition::UnsupportedStanzaType),
        ("<message xmlns='jabber:server'/>", StreamCondition::InvalidNamespace),
    ];
    let mut session = session(u64::MAX, None);
    for (xml, want) in rows {
        assert_eq!(send(&mut session, xml), Err(want), "{xml}");
    }
    assert_eq!(session.unsettled(), 0, "none was numbered");
}

#[test]
fn credit_is_never_overdrawn_and_comes_back_by_settlement() {
    let bytes = encoded("<message><body>0123456789</body></message>");
    let (mut scratch, mut link) = (Vec::new(), Vec::new());
    let mut session = session(100, None);
    let mut sent = 0u64;
    let mut step = |session: &mut Session, credit| {
        session.on_element(7, &element(&bytes), credit, &mut scratch, &mut link).unwrap()
    };
    while session.has_credit() && step(&mut session, u64::MAX) == Taken::Sent {
        sent += 1;
    }
    assert!(!session.has_credit() && session.sent_bytes <= 100 && sent >= 1);
    assert_eq!(session.unsettled(), sent);
    let settled = |generation, number, credit| Settled { counter: 7, generation, number, credit };
    assert!(!session.on_settled(&settled(Generation::default(), 1, 1000)) && !session.has_credit());
    // Settling without more credit is not a reason to try again.
    assert!(session.on_settled(&settled(GENERATION, 1, 100)) && !session.has_credit());
    assert!(session.on_settled(&settled(GENERATION, 99, 1000)) && session.has_credit());
    assert_eq!(session.unsettled(), 0, "not more than was sent");
    assert_eq!(step(&mut session, 10), Taken::NoLinkCredit);
    assert_eq!(step(&mut session, 1000), Taken::Sent);
    assert!(session.has_credit());
}

#[test]
fn entries_are_rendered_once_and_reported_when_written() {
    let mut session = session(100, None);
    let stanza = Stanza::new(StanzaKind::Message, StanzaType::Chat);
    let mut out = Vec::new();
    let mut deliver = |session: &mut Session, generation, entry, bytes| {
        let before = out.len();
        let target = Target { counter: 7, generation, entry, overlay: Overlay::default() };
        assert!(session.on_deliver(&target, None, &KEY, &stanza, bytes, &mut out));
        out.len() > before
    };
    let report = |session: &mut Session| {
        let mut link = Vec::new();
        session.report(7, &mut link);
        codec::split(&link, FRAME_BYTES_MAX).unwrap().map(|(frame, _)| match ToCore::decode(frame).unwrap() {
            Some(ToCore::Written(written)) => (written.entry, written.credit - SESSION_WINDOW_BYTES),
            other => panic!("{other:?}"),
        })
    };
    assert!(!deliver(&mut session, Generation::default(), 1, 10), "another attachment");
    assert!(deliver(&mut session, GENERATION, 1, 10));
    assert!(!deliver(&mut session, GENERATION, 1, 10), "again");
    assert_eq!(report(&mut session), None, "not written yet");
    session.on_written();
    assert!(deliver(&mut session, GENERATION, 2, 20));
    assert_eq!(report(&mut session), Some((1, 10)));
    assert_eq!(report(&mut session), None);
    session.on_written();
    assert_eq!(report(&mut session), Some((2, 30)));
    // Due by entries, and by bytes.
    for entry in 3..3 + u64::from(WRITTEN_REPORT_ENTRIES) {
        assert!(!session.report_is_due());
        assert!(deliver(&mut session, GENERATION, entry, 1));
        session.on_written();
    }
    assert!(session.report_is_due() && report(&mut session).is_some() && !session.report_is_due());
    assert!(deliver(&mut session, GENERATION, 1000, usize::try_from(WRITTEN_REPORT_BYTES).unwrap()));
    assert!(!session.report_is_due());
    session.on_written();
    assert!(session.report_is_due());
}

#[test]
fn a_stanza_that_does_not_decode_ends_the_session_without_a_trace() {
    let mut session = session(100, None);
    let stanza = Stanza { payload: &[1, 200], ..Stanza::new(StanzaKind::Message, StanzaType::Chat) };
    let target = Target { counter: 7, generation: GENERATION, entry: 1, overlay: Overlay::default() };
    let mut out = b"before".to_vec();
    assert!(!session.on_deliver(&target, None, &KEY, &stanza, 2, &mut out));
    assert_eq!(out, b"before");
}

fn rendered(session: &mut Session, entry: u64, log: Option<u64>) -> bool {
    let target = Target { counter: 7, generation: session.generation(), entry, overlay: Overlay::default() };
    session.on_deliver(&target, log, &KEY, &Stanza::new(StanzaKind::Message, StanzaType::Chat), 10, &mut Vec::new())
}

/// XEP-0359: what the log has is known by it in every session, and nobody else says so.
#[test]
fn what_is_in_the_log_has_an_id() {
    let mut payload = hearth_wire::tree::Builder::new();
    payload.open(Some("urn:xmpp:sid:0"), "stanza-id").attr("id", "forged").attr("by", "Me@a.example").close();
    let payload = payload.finish();
    let stanza = Stanza { payload: &payload, ..Stanza::new(StanzaKind::Message, StanzaType::Chat) };
    let mut session = session(1000, None);
    let mut said = |entry, log| {
        let mut out = Vec::new();
        let overlay = Overlay { to: Some("me@a.example"), ..Overlay::default() };
        let target = Target { counter: 7, generation: GENERATION, entry, overlay };
        assert!(session.on_deliver(&target, log, &KEY, &stanza, 10, &mut out));
        String::from_utf8(out).unwrap()
    };
    let id = String::from_utf8(KEY.stanza_id(70).to_vec()).unwrap();
    let ours = format!("<stanza-id xmlns='urn:xmpp:sid:0' id='{id}' by='me@a.example'/>");
    let to = "<message to='me@a.example' type='chat'>";
    assert_eq!(said(1, Some(70)), format!("{to}{ours}</message>"));
    assert_eq!(said(2, Some(70)), format!("{to}{ours}</message>"));
    assert!(!said(3, Some(71)).contains(&ours));
    assert_eq!(said(4, None), format!("{to}</message>"));
}

fn frames(mut link: &[u8]) -> Vec<ToCore<'_>> {
    let mut frames = Vec::new();
    while let Some((frame, used)) = codec::split(link, FRAME_BYTES_MAX).unwrap() {
        frames.push(ToCore::decode(frame).unwrap().unwrap());
        link = &link[used..];
    }
    frames
}

#[test]
fn a_session_says_what_it_has_and_sends_what_the_core_has_not() {
    let mut session = session(1000, None);
    session.on_capsule(&Capsule { counter: 7, generation: GENERATION, sealed: b"one" });
    session.on_capsule(&Capsule { counter: 7, generation: Generation::default(), sealed: b"two" });
    for id in 1..=4 {
        let to = if id == 3 { "@" } else { "you@a.example" };
        send(&mut session, &format!("<message id='{id}' to='{to}'/>")).unwrap();
    }
    assert!(session.on_settled(&Settled { counter: 7, generation: GENERATION, number: 1, credit: 1000 }));
    assert!(rendered(&mut session, 1, Some(90)) && rendered(&mut session, 2, None));
    session.on_written();
    assert!(rendered(&mut session, 3, Some(50)));
    session.on_link_lost();
    assert!(!session.has_unreported(), "there is nobody to tell");
    let mut link = Vec::new();
    session.report(7, &mut link);
    session.attach(7, Some(true), &mut link);
    let attach = Attach {
        counter: 7,
        stream: StreamId([1; 16]),
        generation: GENERATION,
        sealed: b"one",
        settled: 1,
        number: 4,
        entry: 3,
        written: 2,
        delivered_bytes: 30,
        credit: 20 + SESSION_WINDOW_BYTES,
        log: 90,
        unwritten: vec![LoggedEntry { entry: 3, log: 50 }],
        recent: vec![90],
        closed: Some(true),
    };
    let questions = OpenQuestions { counter: 7, open: Vec::new(), whole: true };
    assert_eq!(frames(&link), [ToCore::OpenQuestions(questions), ToCore::Attach(attach)]);

    let next = Generation { epoch: 3, counter: 1 };
    let attached = Attached { counter: 7, before: GENERATION, generation: next, received: 2, settled: 0, credit: 500 };
    assert!(!session.on_attached(&Attached { before: next, ..attached }));
    assert!(session.on_attached(&attached) && !session.on_attached(&attached));
    assert!(!session.has_credit(), "what was kept goes first");
    let mut link = Vec::new();
    assert!(!session.resend(7, 3, &mut link) && link.is_empty());
    let element = encoded("<message id='5'/>");
    let taken = session.on_element(7, &self::element(&element), 999, &mut Vec::new(), &mut link);
    assert_eq!((taken, link.len()), (Ok(Taken::NoCredit), 0));
    assert!(session.resend(7, 999, &mut link));
    session.on_element(7, &self::element(&element), 999, &mut Vec::new(), &mut link).unwrap();
    let sent: Vec<_> = frames(&link)
        .into_iter()
        .map(|frame| match frame {
            ToCore::StanzaAgain(s) => (true, s.generation, s.number, s.fault),
            ToCore::Stanza(s) => (false, s.generation, s.number, s.fault),
            other => panic!("{other:?}"),
        })
        .collect();
    let bad = Some(StanzaFault::JidMalformed);
    assert_eq!(sent, [(true, next, 3, bad), (true, next, 4, None), (false, next, 5, None)]);
    // The credit counts from what is settled.
    assert!(session.sent_bytes < 100 && session.credit_bytes == 500, "{}", session.sent_bytes);
    assert!(session.on_settled(&Settled { counter: 7, generation: next, number: 5, credit: 600 }));
    assert_eq!(session.unsettled(), 0);
}

/// What a resumed session asked before it knows from the core; an older one does not say.
#[test]
fn what_was_asked_at_an_earlier_socket_is_told_to_the_next_core() {
    let resumed = Resumed {
        counter: 7,
        stream: StreamId([1; 16]),
        generation: GENERATION,
        jid: "me@a.example/r",
        number: 4,
        sm_number: 0,
        entry: 3,
        sm_entry: 0,
        credit: 1000,
    };
    let open = |ids: [&'static str; 2]| ids.map(|id| OpenQuestion { id, to: Some("you@a.example/r") }).to_vec();
    let before = AskedBefore { counter: 7, generation: GENERATION, open: open(["1", "2"]), whole: true };
    let other = AskedBefore { generation: Generation::default(), ..before.clone() };
    let nothing = AskedBefore { open: Vec::new(), ..before.clone() };
    let answer =
        Stanza { id: Some("1"), from: Some("you@a.example/r"), ..Stanza::new(StanzaKind::Iq, StanzaType::Result) };
    for (told, answered, expected) in [
        (None, false, (vec![], false)),
        (Some(other), false, (vec![], false)),
        (Some(before.clone()), false, (open(["1", "2"]), true)),
        (Some(before), true, (open(["2", "2"])[1..].to_vec(), true)),
        (Some(nothing), false, (vec![], true)),
    ] {
        let mut session = Session::resumed(&resumed, None);
        told.iter().for_each(|told| session.on_asked_before(told));
        if answered {
            let target = Target { counter: 7, generation: GENERATION, entry: 4, overlay: Overlay::default() };
            assert!(session.on_deliver(&target, None, &KEY, &answer, 1, &mut Vec::new()));
        }
        session.on_link_lost();
        let mut link = Vec::new();
        session.attach(7, None, &mut link);
        let [ToCore::OpenQuestions(questions), ToCore::Attach(_)] = &frames(&link)[..] else { panic!("two frames") };
        assert_eq!((questions.open.clone(), questions.whole), expected);
    }
}

#[test]
fn only_the_answer_of_who_was_asked_is_one() {
    let answered = |to: &str, from: Option<&str>, id: &str| {
        let mut session = session(1000, None);
        send(&mut session, &format!("<iq type='get' id='1'{to}><q xmlns='u'/></iq>")).unwrap();
        let answer = Stanza { id: Some(id), from, ..Stanza::new(StanzaKind::Iq, StanzaType::Error) };
        let target = Target { counter: 7, generation: GENERATION, entry: 1, overlay: Overlay::default() };
        assert!(session.on_deliver(&target, None, &KEY, &answer, 1, &mut Vec::new()));
        session.more.unwrap().kept.records().next().unwrap().fault() == Some(StanzaFault::Answered)
    };
    for (to, from, id, want) in [
        ("", None, "1", true),
        ("", Some("me@a.example"), "1", true),
        ("", Some("a.example"), "1", true),
        ("", Some("b.example"), "1", false),
        ("", None, "2", false),
        (" to='b.example'", Some("b.example"), "1", true),
        (" to='b.example'", None, "1", false),
        (" to='a.example'", None, "1", true),
    ] {
        assert_eq!(answered(to, from, id), want, "{to} {from:?} {id}");
    }
}

#[test]
fn what_a_session_does_not_need_is_freed() {
    let mut session = session(1000, None);
    send(&mut session, "<message/>").unwrap();
    assert!(session.more.is_some());
    assert!(session.on_settled(&Settled { counter: 7, generation: GENERATION, number: 1, credit: 1000 }));
    assert!(session.more.is_none());
    assert!(rendered(&mut session, 1, Some(5)));
    session.on_written();
    session.report(7, &mut Vec::new());
    assert!(!session.needs_seconds());
    let stored = |generation| Stored { counter: 7, generation, entry: 1 };
    session.on_stored(&stored(Generation { epoch: 1, counter: 0 }));
    assert!(session.more.as_ref().is_some_and(|more| more.logged.is_some()), "that is of another core");
    session.on_stored(&stored(GENERATION));
    assert!(session.more.as_ref().is_some_and(|more| more.logged.is_none() && more.log == 5));
}
