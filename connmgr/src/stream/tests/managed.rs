//! Stream management (XEP-0198) and signs of life (XEP-0199).

use super::*;
use hearth_wire::codec;
use hearth_wire::stanza::{Overlay, Stanza, StanzaKind};
use hearth_wire::to_core::ToCore;
use hearth_wire::to_edge::{Resumed, Settled, SmEnabled, Target};

const ENABLE: &str = "<enable xmlns='urn:xmpp:sm:3' resume='true'/>";
const R: &str = "<r xmlns='urn:xmpp:sm:3'/>";
const MESSAGE: &str = "<message><body>x</body></message>";

impl Rig {
    /// With stream management, resumable.
    fn managed() -> Rig {
        let mut rig = Rig::bound();
        rig.send(ENABLE);
        rig.enabled(0, Some("prev"));
        rig.forget()
    }

    fn enabled(&mut self, entry: u64, previd: Option<&str>) {
        let enabled = SmEnabled { counter: 1, generation: bound_frame().generation, entry, previd, max_s: 300 };
        self.input(Input::SmEnabled { enabled: &enabled, location: Some("here:5222") });
    }

    fn session(&mut self) -> &mut Session {
        self.stream.session_mut().unwrap()
    }

    fn deliver(&mut self, entry: u64, kind: StanzaKind) {
        let generation = bound_frame().generation;
        let target = Target { counter: 1, generation, entry, overlay: Overlay::default() };
        let stanza = Stanza::new(kind, hearth_wire::stanza::StanzaType::Normal);
        let mut out = Vec::new();
        assert!(self.session().on_deliver(
            &target,
            Some(entry),
            &hearth_wire::ids::SlotKey([1; 16]),
            &stanza,
            10,
            &mut out
        ));
        // Its id is another test's.
        let text = std::str::from_utf8(&out).unwrap();
        let end = text.find("><stanza-id ").map_or(text.to_owned(), |at| format!("{}/>", &text[..at]));
        self.text.push_str(&end);
    }

    fn end_of_turn(&mut self) {
        let mut out = Vec::new();
        self.session().end_of_turn(&mut out);
        self.session().on_written();
        self.text.push_str(std::str::from_utf8(&out).unwrap());
    }

    fn settle(&mut self, number: u64) {
        let generation = bound_frame().generation;
        assert!(self.session().on_settled(&Settled { counter: 1, generation, number, credit: 1 << 20 }));
    }

    /// What was said, without the namespace; and forgets it.
    fn said(&mut self) -> String {
        std::mem::take(&mut self.text).replace(" xmlns='urn:xmpp:sm:3'", "")
    }

    /// Entry and credit of the report, if there is one.
    fn reported(&mut self) -> Option<(u64, u64)> {
        let mut link = Vec::new();
        self.session().report(1, &mut link);
        let frame = codec::split(&link, codec::FRAME_BYTES_MAX).unwrap();
        frame.map(|(frame, _)| match ToCore::decode(frame).unwrap() {
            Some(ToCore::Written(written)) => (written.entry, written.credit - crate::limits::SESSION_WINDOW_BYTES),
            other => panic!("{other:?}"),
        })
    }
}

fn failed(condition: &str) -> String {
    format!("<failed><{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>")
}

#[test]
fn it_is_enabled_once_and_counts_from_there() {
    let mut rig = Rig::bound();
    rig.send(R);
    rig.send("<a xmlns='urn:xmpp:sm:3' h='0'/>");
    assert_eq!(rig.said(), failed("unexpected-request").repeat(2));
    rig.send(MESSAGE);
    rig.send("<enable xmlns='urn:xmpp:sm:3' resume='1' max='60'/>");
    let generation = bound_frame().generation;
    assert_eq!(rig.asks(), Question::SmEnable { generation, number: 1, resume: true, max_s: Some(60) });
    rig.send(ENABLE);
    assert_eq!(rig.said(), failed("unexpected-request"));
    rig.send(R);
    assert_eq!(rig.said(), "", "not before <enabled/>");
    rig.deliver(1, StanzaKind::Presence);
    rig.text.clear();
    rig.enabled(1, Some("p'1"));
    rig.end_of_turn();
    assert_eq!(rig.said(), "<enabled id='p&apos;1' resume='true' max='300' location='here:5222'/><a h='0'/>");
    rig.enabled(1, None);
    rig.send(ENABLE);
    rig.send("<resume xmlns='urn:xmpp:sm:3' previd='x' h='0'/>");
    assert_eq!(rig.said(), failed("unexpected-request").repeat(2));
    // The stanza before it is not counted, the next is.
    rig.send(MESSAGE);
    rig.settle(1);
    rig.send(R);
    rig.settle(2);
    rig.end_of_turn();
    assert_eq!(rig.said(), "<a h='1'/>");
    // Neither are entries before it.
    rig.send("<a xmlns='urn:xmpp:sm:3' h='1'/>");
    rig.ends_with_too_high(1, 0);
}

impl Rig {
    #[track_caller]
    fn ends_with_too_high(&mut self, h: u32, sent: u32) {
        self.says(&format!(
            "<stream:error><undefined-condition xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>\
             <handled-count-too-high xmlns='urn:xmpp:sm:3' h='{h}' send-count='{sent}'/></stream:error></stream:stream>"
        ));
        assert_eq!(self.rest.last(), Some(&Output::End { clean: false, linger: true }));
    }
}

#[test]
fn what_enable_asks_for_is_read_by_the_schema() {
    for (attributes, resume, max_s) in [
        ("", false, None),
        ("resume='false' max='7'", false, Some(7)),
        ("resume='true' max='0'", true, None),
        ("resume='TRUE' max='-1'", false, None),
        ("resume='1' max='many'", true, None),
    ] {
        let mut rig = Rig::bound();
        rig.send(&format!("<enable xmlns='urn:xmpp:sm:3' {attributes}/>"));
        let Question::SmEnable { resume: r, max_s: m, .. } = rig.asks() else { panic!() };
        assert_eq!((r, m), (resume, max_s), "{attributes}");
        rig.enabled(0, None);
        assert_eq!(rig.said(), "<enabled/>");
        assert!(!rig.session().is_resumable());
    }
}

#[test]
fn without_the_feature_there_is_none() {
    let mut rig = Rig::secured();
    rig.domains.iter_mut().for_each(|domain| domain.sm = false);
    rig.send(&auth("PLAIN", "AHVzZXIAeA=="));
    rig.input(Input::Success { account: "user@a.example", data: None });
    rig.send(HEADER);
    rig.text.clear();
    rig.send("<resume xmlns='urn:xmpp:sm:3' previd='x' h='0'/>");
    assert_eq!(rig.said(), failed("feature-not-implemented"));
    rig.send(BIND);
    rig.input(Input::Bound(&bound_frame()));
    rig.text.clear();
    rig.send(ENABLE);
    assert_eq!(rig.said(), failed("feature-not-implemented"));
}

#[test]
fn acknowledged_is_what_the_client_says() {
    let mut rig = Rig::managed();
    for entry in 1..=3 {
        rig.deliver(entry, StanzaKind::Message);
    }
    rig.end_of_turn();
    assert_eq!(rig.said(), "<message/><message/><message/><r/>");
    assert_eq!(rig.reported(), Some((0, 30)), "the socket took all, the client said nothing");
    rig.send("<a xmlns='urn:xmpp:sm:3' h='2'/>");
    assert_eq!(rig.reported(), Some((2, 30)));
    rig.send("<a xmlns='urn:xmpp:sm:3' h='1'/>");
    assert_eq!(rig.reported(), None, "old");
    rig.end_of_turn();
    assert_eq!(rig.said(), "", "the last was asked about");
    rig.send("<a xmlns='urn:xmpp:sm:3' h=' 3 '/>");
    assert_eq!(rig.reported(), Some((3, 30)));
    rig.send("<a xmlns='urn:xmpp:sm:3' h='5'/>");
    rig.ends_with_too_high(5, 3);
}

#[test]
fn elements_that_say_nothing_end_the_stream() {
    for (element, condition) in [
        ("<a xmlns='urn:xmpp:sm:3'/>", "invalid-xml"),
        ("<a xmlns='urn:xmpp:sm:3' h=''/>", "invalid-xml"),
        ("<a xmlns='urn:xmpp:sm:3' h='-1'/>", "invalid-xml"),
        ("<a xmlns='urn:xmpp:sm:3' h='4294967296'/>", "invalid-xml"),
        ("<enabled xmlns='urn:xmpp:sm:3'/>", "unsupported-stanza-type"),
    ] {
        let mut rig = Rig::managed();
        rig.send(element);
        rig.ends_with(condition);
    }
}

#[test]
fn a_session_is_resumed_instead_of_bound() {
    let mut rig = Rig::authenticated();
    for (attributes, condition) in [
        ("previd='x'", "bad-request"),
        ("previd='x' h='-1'", "bad-request"),
        ("h='1'", "bad-request"),
        ("previd='' h='1'", "bad-request"),
        (&format!("previd='{}' h='1'", "x".repeat(257)), "bad-request"),
    ] {
        rig.send(&format!("<resume xmlns='urn:xmpp:sm:3' {attributes}/>"));
        assert_eq!(rig.said(), failed(condition), "{attributes}");
    }
    for early in [ENABLE, R] {
        rig.send(early);
        assert_eq!(rig.said(), failed("unexpected-request"));
    }
    let resume = "<resume xmlns='urn:xmpp:sm:3' previd='x&amp;y' h='4294967295'/>";
    rig.send(resume);
    assert_eq!(rig.asks(), Question::Resume { previd: "x&y".to_owned(), h: u32::MAX });
    assert!(!rig.stream.reads(), "one question at a time");
    rig.input(Input::ResumeFailed { condition: StanzaCondition::ItemNotFound, h: Some(7) });
    assert_eq!(rig.said(), failed("item-not-found").replace("<failed>", "<failed h='7'>"));
    rig.send(resume);
    rig.rest.clear();
    let resumed = Resumed {
        counter: 1,
        stream: StreamId([1; 16]),
        generation: bound_frame().generation,
        jid: "user@a.example/r",
        number: (1 << 32) + 5,
        sm_number: 6,
        entry: 8,
        sm_entry: 3,
        credit: 1 << 20,
    };
    rig.input(Input::Resumed(&resumed));
    assert_eq!(rig.said(), "<resumed previd='x&amp;y' h='4294967295'/>");
    assert_eq!(rig.rest, [Output::Bound]);
    assert_eq!(rig.session().jid(), "user@a.example/r");
    // The counts go on.
    rig.send(MESSAGE);
    rig.settle((1 << 32) + 6);
    rig.send(R);
    rig.deliver(9, StanzaKind::Message);
    rig.end_of_turn();
    assert_eq!(rig.said(), "<a h='0'/><message/><r/>");
    rig.send("<a xmlns='urn:xmpp:sm:3' h='6'/>");
    assert_eq!(rig.reported(), Some((9, 10)));
}

#[test]
fn who_is_not_authenticated_resumes_nothing() {
    let mut rig = Rig::secured();
    rig.send("<resume xmlns='urn:xmpp:sm:3' previd='x' h='0'/>");
    rig.ends_with("not-authorized");
    let mut rig = Rig::authenticated();
    rig.send("<resume xmlns='urn:xmpp:sm:3' previd='x' h='0'/>");
    rig.input(Input::Detached);
    rig.ends_with("reset");
}

#[test]
fn silence_is_asked_about_before_it_ends_a_session() {
    let mut rig = Rig::managed();
    rig.input(Input::Deadline(Deadline::Idle));
    assert_eq!((rig.said().as_str(), rig.rest.as_slice()), ("<r/>", &[Output::Asked][..]));
    rig.input(Input::Deadline(Deadline::Unanswered));
    assert_eq!(rig.said(), "", "nobody reads it, and a closing tag would end the session");
    assert_eq!(rig.rest.last(), Some(&Output::End { clean: false, linger: false }));

    let mut rig = Rig::bound();
    let id = format!("ping-{}", bound_frame().stream);
    rig.input(Input::Deadline(Deadline::Idle));
    let ping =
        format!("<iq from='a.example' to='user@a.example/r' id='{id}' type='get'><ping xmlns='urn:xmpp:ping'/></iq>");
    assert_eq!(rig.said(), ping);
    for (answer, swallowed) in [
        (format!("<iq type='result' id='{id}' to='b.example'/>"), false),
        ("<iq type='result' id='ping-1' to='a.example'/>".to_owned(), false),
        (format!("<iq type='error' id='{id}' to='A.example'><error type='cancel'/></iq>"), true),
        (format!("<iq type='result' id='{id}' to='a.example'/>"), false),
    ] {
        let before = rig.session().unsettled();
        rig.send(&answer);
        assert_eq!(rig.session().unsettled() == before, swallowed, "{answer}");
    }
    // Whoever counts its stanzas by then has counted the answer.
    rig.input(Input::Deadline(Deadline::Idle));
    rig.send(ENABLE);
    let before = rig.session().unsettled();
    rig.send(&format!("<iq type='result' id='{id}' to='a.example'/>"));
    assert_eq!(rig.session().unsettled(), before + 1);
}

#[test]
fn a_stopping_edge_leaves_what_can_be_resumed() {
    let mut rig = Rig::managed();
    rig.send(MESSAGE);
    rig.settle(1);
    rig.input(Input::Shutdown(Elsewhere::default()));
    assert_eq!(rig.said(), "<a h='1'/>");
    assert_eq!(rig.rest.last(), Some(&Output::End { clean: false, linger: false }));
    let mut rig = Rig::managed();
    rig.send("</stream:stream>");
    assert_eq!(rig.said(), "</stream:stream>", "that is the end of a session");
    assert_eq!(rig.rest.last(), Some(&Output::End { clean: true, linger: false }));
}
