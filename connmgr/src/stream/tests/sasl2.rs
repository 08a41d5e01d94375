//! Authentication by XEP-0388.

use super::*;
use crate::directory::Authentication;
use crate::stream::{Agent, Auth, Inline};
use hearth_wire::to_core::Fast;
use hearth_wire::to_edge::Resumed;

const AGENT: &str = "<user-agent id='d4565fa7-4d72-4749-b3d3-740edbf87770'>\
     <software>Pen</software><device>Desk</device></user-agent>";
const RESUME: &str = "<resume xmlns='urn:xmpp:sm:3' previd='prev' h='7'/>";

/// What a core of this release announces besides.
pub(super) fn announced() -> Option<Authentication> {
    let mut tree = Builder::new();
    tree.open(Some("urn:xmpp:sasl:2"), "authentication").leaf(None, "mechanism", "PLAIN").close();
    let tree = tree.finish();
    Authentication::new(&to_edge::Authentication {
        domain: "a.example",
        tls: &tree,
        tls_end_point: &tree,
        tls_exporter: &tree,
        tls_bound: &tree,
    })
}

fn authenticate(mechanism: &str, inside: &str) -> String {
    format!("<authenticate xmlns='urn:xmpp:sasl:2' mechanism='{mechanism}'>{inside}</authenticate>")
}

fn initial(data: &str) -> String {
    format!("<initial-response>{data}</initial-response>")
}

/// By the user that proves to be `user`.
fn plain(inside: &str) -> String {
    authenticate("PLAIN", &format!("{}{inside}", initial("AHVzZXIAeA==")))
}

impl Rig {
    /// What the core hears of an `<authenticate/>`.
    #[track_caller]
    fn begins(&mut self, element: &str) -> Auth {
        self.send(element);
        let Question::Authenticate { auth, .. } = self.asks() else { panic!("another question") };
        auth
    }

    fn succeeds(&mut self) {
        self.input(Input::Success { account: "user@a.example", data: Some(b"v=") });
    }
}

#[test]
fn it_is_offered_inside_tls_only() {
    let mut rig = Rig::new(true);
    rig.send(HEADER);
    assert!(!rig.text.contains("urn:xmpp:sasl:2"), "{}", rig.text);
    rig.send(&plain(""));
    rig.ends_with("not-authorized");
    for protection in [BARE_TLS, BOUND_TLS] {
        let mut rig = Rig::new(true);
        rig.input(Input::TlsReady(protection));
        rig.send(HEADER);
        rig.says("<authentication xmlns='urn:xmpp:sasl:2'><mechanism>PLAIN</mechanism></authentication>");
        assert!(!rig.text.contains("bind"), "no XEP-0386");
    }
    // A core of an earlier release.
    let mut rig = Rig::new(false);
    rig.domains.iter_mut().for_each(|domain| domain.sasl2 = false);
    rig.input(Input::TlsReady(BOUND_TLS));
    rig.send(HEADER);
    rig.send(&plain(""));
    rig.ends_with("not-authorized");
}

/// §2.6.1: the features follow at once, on the same stream.
#[test]
fn success_needs_no_new_stream() {
    let mut rig = Rig::secured();
    let auth = rig.begins(&plain(AGENT));
    assert_eq!((&*auth.mechanism, auth.initial.as_deref()), ("PLAIN", Some(&b"\0user\0x"[..])));
    let agent = Agent {
        id: *b"\xd4\x56\x5f\xa7\x4d\x72\x47\x49\xb3\xd3\x74\x0e\xdb\xf8\x77\x70",
        software: Some("Pen".into()),
        device: Some("Desk".into()),
    };
    assert_eq!(auth.inline.as_deref(), Some(&Inline { agent: Some(agent), ..Inline::default() }));
    rig.text.clear();
    rig.succeeds();
    assert!(rig.text.starts_with(
        "<success xmlns='urn:xmpp:sasl:2'><additional-data>dj0=</additional-data>\
         <authorization-identifier>user@a.example</authorization-identifier></success><stream:features>"
    ));
    rig.says("authenticated");
    assert_eq!(rig.rest, [Output::Authenticated], "no new stream");
    rig.send(BIND);
    assert_eq!(rig.asks(), Question::Bind { resource: None });
    rig.input(Input::Bound(&bound_frame()));
    assert!(matches!(rig.stream, Stream::Bound(_)));
}

#[test]
fn challenges_responses_and_failures_are_its_own() {
    let mut rig = Rig::secured();
    assert_eq!(rig.begins(&authenticate("SCRAM-SHA-1", "")).initial, None);
    rig.input(Input::Challenge(b"what"));
    rig.says("<challenge xmlns='urn:xmpp:sasl:2'>d2hhdA==</challenge>");
    rig.send("<response xmlns='urn:xmpp:sasl:2'>dGhpcw==</response>");
    assert_eq!(rig.asks(), Question::Respond(b"this".to_vec()));
    rig.text.clear();
    rig.input(Input::Failure { condition: SaslCondition::NotAuthorized, last: false });
    let failure = |condition| {
        format!("<failure xmlns='urn:xmpp:sasl:2'><{condition} xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/></failure>")
    };
    assert_eq!(rig.text, failure("not-authorized"));
    // The stream goes on: another try, given up.
    rig.begins(&authenticate("SCRAM-SHA-1", &initial("")));
    rig.input(Input::Challenge(b""));
    rig.text.clear();
    rig.send("<abort xmlns='urn:xmpp:sasl:2'><text>no</text></abort>");
    assert_eq!(rig.asks(), Question::Abort);
    assert_eq!(rig.text, failure("aborted"));
    rig.input(Input::Failure { condition: SaslCondition::Aborted, last: true });
    rig.ends_with("policy-violation");
}

#[test]
fn what_is_badly_said_is_refused() {
    let agent = |id: &str| format!("<user-agent id='{id}'/>");
    for (element, condition) in [
        (authenticate("", &initial("")), "invalid-mechanism"),
        (authenticate("plain", ""), "invalid-mechanism"),
        (authenticate("PLAIN", &initial("=")), "incorrect-encoding"),
        (authenticate("PLAIN", &initial("AHVz ZXIAeA==")), "incorrect-encoding"),
        (authenticate("PLAIN", "<initial-response><x/></initial-response>"), "malformed-request"),
        // A UUID of another version, of another variant, of another form.
        (plain(&agent("d4565fa7-4d72-1749-b3d3-740edbf87770")), "malformed-request"),
        (plain(&agent("d4565fa7-4d72-4749-73d3-740edbf87770")), "malformed-request"),
        (plain(&agent("d4565fa74d724749b3d3740edbf87770")), "malformed-request"),
        (plain(&agent("+4565fa7-4d72-4749-b3d3-740edbf87770")), "malformed-request"),
        (plain(&agent("")), "malformed-request"),
        (plain("<fast xmlns='urn:xmpp:fast:0' count='-1'/>"), "malformed-request"),
        (plain("<fast xmlns='urn:xmpp:fast:0' count=''/>"), "malformed-request"),
        (plain("<fast xmlns='urn:xmpp:fast:0' invalidate='yes'/>"), "malformed-request"),
        ("<response xmlns='urn:xmpp:sasl:2'>eA==</response>".to_owned(), "malformed-request"),
        ("<abort xmlns='urn:xmpp:sasl:2'/>".to_owned(), "aborted"),
    ] {
        let mut rig = Rig::secured();
        rig.send(&element);
        assert!(
            rig.text.starts_with(&format!("<failure xmlns='urn:xmpp:sasl:2'><{condition} ")),
            "{element}: {}",
            rig.text
        );
        assert_eq!(rig.rest, []);
        rig.begins(&plain(""));
    }
}

#[test]
fn all_that_comes_along_is_told() {
    let long = "\u{20ac}".repeat(50);
    let mut rig = Rig::secured();
    let auth = rig.begins(&authenticate(
        "HT-SHA-256-NONE",
        &format!(
            "{}<user-agent id='D4565FA7-4D72-4749-B3D3-740EDBF87770'><software>{long}</software></user-agent>\
             <bind xmlns='urn:xmpp:bind:0'><tag>x</tag></bind><fast xmlns='urn:xmpp:fast:0' count='3' invalidate='1'/>\
             <request-token xmlns='urn:xmpp:fast:0' mechanism='HT-SHA-256-EXPR'/>",
            initial("dXNlcgAB")
        ),
    ));
    let inline = *auth.inline.unwrap();
    assert_eq!(inline.fast, Some(Fast { count: Some(3), invalidate: true }));
    assert_eq!(inline.request_token.as_deref(), Some("HT-SHA-256-EXPR"));
    let software = inline.agent.unwrap().software.unwrap();
    assert_eq!(&*software, "\u{20ac}".repeat(42), "cut where a character ends");
    // Where the account lives elsewhere, all of it goes there.
    rig.input(Input::Moved(hearth_wire::ids::Slot::new(9).unwrap()));
    let Question::Authenticate { auth, .. } = rig.asks() else { panic!() };
    assert_eq!(auth.inline.unwrap().fast, inline.fast);
    rig.input(Input::Token { token: "to'ken", expires_ms: 1_584_023_775_000 });
    rig.text.clear();
    rig.succeeds();
    rig.says(
        "</authorization-identifier><token xmlns='urn:xmpp:fast:0' expiry='2020-03-12T14:36:15.000Z' \
         token='to&apos;ken'/></success>",
    );
    // Who called itself something in the header.
    let mut rig = Rig::new(false);
    rig.input(Input::TlsReady(BOUND_TLS));
    rig.send(&HEADER.replace(" to=", " from='User@a.example/x' to="));
    assert_eq!(rig.begins(&plain("")).inline.unwrap().from.as_deref(), Some("user@a.example"));
}

/// A token of an exchange that failed is not told with the next.
#[test]
fn a_failure_leaves_nothing_behind() {
    let mut rig = Rig::secured();
    rig.begins(&plain(&format!("{AGENT}{RESUME}")));
    rig.input(Input::Token { token: "old", expires_ms: 0 });
    rig.input(Input::Failure { condition: SaslCondition::TemporaryAuthFailure, last: false });
    rig.begins(&plain(""));
    rig.text.clear();
    rig.succeeds();
    assert!(!rig.text.contains("old") && rig.text.contains("</success><stream:features>"), "{}", rig.text);
    assert_eq!(rig.rest, [Output::Authenticated], "no session is asked for");
}

fn resumed() -> Resumed<'static> {
    Resumed {
        counter: 1,
        stream: StreamId([1; 16]),
        generation: Generation { epoch: 1, counter: 2 },
        jid: "user@a.example/r",
        number: 9,
        sm_number: 4,
        entry: 3,
        sm_entry: 1,
        credit: 1000,
    }
}

/// XEP-0198 §9.2: one answer to both, and no features behind it.
#[test]
fn a_session_goes_on_within_success() {
    let mut rig = Rig::secured();
    rig.begins(&plain(RESUME));
    rig.text.clear();
    rig.succeeds();
    assert_eq!(rig.text, "", "not before the session is had");
    assert_eq!(rig.asks(), Question::Resume { previd: "prev".to_owned(), h: 7 });
    rig.input(Input::Resumed(&resumed()));
    assert_eq!(
        rig.text,
        "<success xmlns='urn:xmpp:sasl:2'><additional-data>dj0=</additional-data>\
         <authorization-identifier>user@a.example/r</authorization-identifier>\
         <resumed xmlns='urn:xmpp:sm:3' previd='prev' h='5'/></success>"
    );
    assert_eq!(rig.rest, [Output::Authenticated, Output::Bound]);
    assert!(matches!(rig.stream, Stream::Bound(_)));
}

#[test]
fn a_session_that_cannot_go_on_is_told_within_success() {
    let failed = |attributes: &str, condition: &str| {
        format!(
            "</authorization-identifier><failed xmlns='urn:xmpp:sm:3'{attributes}>\
             <{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed></success><stream:features>"
        )
    };
    let mut rig = Rig::secured();
    rig.begins(&plain(RESUME));
    rig.succeeds();
    rig.asks();
    rig.input(Input::ResumeFailed { condition: StanzaCondition::ItemNotFound, h: Some(3) });
    rig.says(&failed(" h='3'", "item-not-found"));
    // It binds, or asks for another one as ever.
    rig.send("<resume xmlns='urn:xmpp:sm:3' previd='other' h='0'/>");
    assert_eq!(rig.asks(), Question::Resume { previd: "other".to_owned(), h: 0 });
    rig.text.clear();
    rig.input(Input::ResumeFailed { condition: StanzaCondition::ItemNotFound, h: None });
    assert!(rig.text.starts_with("<failed xmlns='urn:xmpp:sm:3'>"), "{}", rig.text);
    rig.send(BIND);
    assert_eq!(rig.asks(), Question::Bind { resource: None });

    let mut rig = Rig::secured();
    rig.begins(&plain("<resume xmlns='urn:xmpp:sm:3' previd='' h='0'/>"));
    rig.succeeds();
    rig.says(&failed("", "bad-request"));
    assert_eq!(rig.rest, [Output::Authenticated]);
}

#[test]
fn a_lost_link_ends_what_was_under_way() {
    let mut rig = Rig::secured();
    rig.begins(&plain(""));
    rig.input(Input::LinkLost);
    rig.says("<failure xmlns='urn:xmpp:sasl:2'><temporary-auth-failure ");
    rig.begins(&plain(RESUME));
    rig.succeeds();
    rig.input(Input::Detached);
    rig.ends_with("reset");
}

#[test]
fn threat_030_no_profile_is_mixed_with_the_other() {
    let refused = |rig: &mut Rig| {
        rig.ends_with("policy-violation");
        rig.says("one SASL profile for each stream");
    };
    // One refused, or under way, then the other.
    let mut rig = Rig::secured();
    rig.begins(&plain(""));
    rig.input(Input::Failure { condition: SaslCondition::NotAuthorized, last: false });
    rig.send(&auth("PLAIN", "AHVzZXIAeA=="));
    refused(&mut rig);
    let mut rig = Rig::secured();
    rig.begins(&authenticate("SCRAM-SHA-1", ""));
    rig.input(Input::Challenge(b""));
    rig.send(&response("eA=="));
    refused(&mut rig);
    let mut rig = Rig::secured();
    rig.send(&auth("SCRAM-SHA-1", ""));
    rig.input(Input::Challenge(b""));
    rig.send("<response xmlns='urn:xmpp:sasl:2'>eA==</response>");
    refused(&mut rig);
    // Once is enough, by whichever.
    for again in [plain(""), auth("PLAIN", "AHVzZXIAeA==")] {
        let mut rig = Rig::secured();
        rig.begins(&plain(""));
        rig.succeeds();
        rig.send(&again);
        rig.ends_with("policy-violation");
    }
    let mut rig = Rig::authenticated();
    rig.send(&plain(""));
    assert!(matches!(rig.stream, Stream::Ended(_)));
}

/// §2.5: nothing but the exchange, while it is under way.
#[test]
fn nothing_else_while_it_is_under_way() {
    for other in [BIND, "<presence/>", "<next xmlns='urn:xmpp:sasl:2' task='x'/>", "<x xmlns='urn:x'/>"] {
        let mut rig = Rig::secured();
        rig.begins(&authenticate("SCRAM-SHA-1", ""));
        rig.input(Input::Challenge(b""));
        rig.send(other);
        rig.ends_with("policy-violation");
    }
}

#[test]
fn threat_025_no_header_leads_elsewhere_behind_success() {
    let mut rig = Rig::secured();
    rig.begins(&plain(""));
    rig.succeeds();
    rig.send(&HEADER.replace("a.example", "b.example"));
    assert!(matches!(rig.stream, Stream::Ended(_)), "{}", rig.text);
}
