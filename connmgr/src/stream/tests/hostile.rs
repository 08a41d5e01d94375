//! Everything a client could say, in every state before TLS: nothing but `<starttls/>` is done (threats, row 12).

use super::*;

const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
const SASL2: &str = "urn:xmpp:sasl:2";
const SM: &str = "urn:xmpp:sm:3";

/// What means something somewhere: to us in another state, to servers with other features, on other kinds of streams.
fn everything() -> Vec<String> {
    let mut all = Vec::new();
    for mechanism in
        ["PLAIN", "EXTERNAL", "ANONYMOUS", "DIGEST-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256-PLUS", "HT-SHA-256-NONE", ""]
    {
        all.push(auth(mechanism, "AHVzZXIAc2VjcmV0"));
        all.push(format!(
            "<authenticate xmlns='{SASL2}' mechanism='{mechanism}'><initial-response>AHVzZXIAc2VjcmV0</initial-response></authenticate>"
        ));
    }
    for ns in [SASL, SASL2, SM, "urn:ietf:params:xml:ns:xmpp-tls", "urn:x"] {
        for name in [
            "response",
            "abort",
            "success",
            "failure",
            "challenge",
            "continue",
            "next",
            "proceed",
            "enable",
            "enabled",
            "resume",
            "resumed",
            "failed",
            "r",
            "a",
            "compressed",
            "starttl",
            "STARTTLS",
        ] {
            all.push(format!("<{name} xmlns='{ns}' previd='x' h='0'>AA==</{name}>"));
        }
    }
    for payload in [
        "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>",
        "<session xmlns='urn:ietf:params:xml:ns:xmpp-session'/>",
        "<query xmlns='jabber:iq:register'/>",
        "<query xmlns='jabber:iq:register'><username>u</username><password>secret!!</password></query>",
        "<query xmlns='jabber:iq:auth'><username>u</username></query>",
        "<query xmlns='jabber:iq:roster'/>",
        "<query xmlns='http://jabber.org/protocol/disco#info'/>",
        "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
    ] {
        all.extend(["get", "set", "result", "error"].map(|ty| format!("<iq type='{ty}' id='1'>{payload}</iq>")));
    }
    let more = [
        "<message to='user@a.example'><body>x</body></message>",
        "<presence/>",
        "<presence type='subscribe' to='user@a.example'/>",
        "<compress xmlns='http://jabber.org/protocol/compress'><method>zlib</method></compress>",
        "<handshake xmlns='jabber:component:accept'>x</handshake>",
        "<handshake>x</handshake>",
        "<db:result xmlns:db='jabber:server:dialback' from='b.example' to='a.example'>x</db:result>",
        "<db:verify xmlns:db='jabber:server:dialback' id='x' from='b.example' to='a.example'>x</db:verify>",
        "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='a.example' version='1.0'/>",
        "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>",
        "<body xmlns='http://jabber.org/protocol/httpbind' rid='1'/>",
        "<bidi xmlns='urn:xmpp:bidi'/>",
        "<inactive xmlns='urn:xmpp:csi:0'/>",
        "<stream:features/>",
        "<stream:error/>",
        "<starttls/>",
        "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls:2'/>",
        "<x xmlns='urn:ietf:params:xml:ns:xmpp-tls'><starttls/></x>",
    ];
    all.extend(more.map(str::to_owned));
    all
}

/// Nothing of it was asked of the core, nobody got in, and no TLS began.
fn check(rig: &Rig, state: &str, said: &str) {
    let harmless = |output: &Output| matches!(output, Output::End { .. });
    assert!(rig.rest.iter().all(harmless), "{state}: {said} led to {:?}", rig.rest);
    assert!(!rig.text.contains("<success") && !rig.text.contains("<proceed"), "{state}: {said}: {}", rig.text);
    assert!(!matches!(rig.stream, Stream::Bound(_)), "{state}: {said}");
    if let Stream::Negotiating(negotiation) = &rig.stream {
        assert_eq!((negotiation.account(), negotiation.protection), (None, None), "{state}: {said}");
    }
}

#[test]
fn threat_012_nothing_but_starttls_in_every_state_before_tls() {
    let opened = || {
        let mut rig = Rig::new(false);
        rig.send(HEADER);
        rig.forget()
    };
    let refused = || {
        let mut rig = Rig::new(false);
        rig.send(HEADER);
        rig.send(&auth("PLAIN", "AA=="));
        rig.says("encryption-required");
        rig.forget()
    };
    let starting = || {
        let mut rig = Rig::new(false);
        rig.send(HEADER);
        rig.send(STARTTLS);
        rig.forget()
    };
    let held = || {
        let mut rig = Rig::new(false);
        rig.core_there = false;
        rig.send(HEADER);
        rig
    };
    let states: [(&str, &dyn Fn() -> Rig); 5] = [
        ("before the header", &|| Rig::new(false)),
        ("features", &opened),
        ("after a refusal", &refused),
        ("between starttls and the handshake", &starting),
        ("held for the core", &held),
    ];
    let all = everything();
    assert!(all.len() > 150);
    for (state, make) in states {
        for said in &all {
            let mut rig = make();
            rig.send(said);
            check(&rig, state, said);
            // And what comes behind it, all at once.
            let mut rig = make();
            rig.send(&format!("{said}{}{BIND}{}", auth("PLAIN", "AHVzZXIAeA=="), "<message/>"));
            check(&rig, state, said);
        }
    }
    // Held, the header is answered with the features of the clear all the same.
    let mut rig = held();
    rig.core_there = true;
    let domains = std::mem::take(&mut rig.domains);
    rig.input(Input::Directory { domain: Hosted::Known(&domains[0]) });
    rig.says("<required/>");
    assert!(!rig.text.contains("offer"), "{}", rig.text);
    // Answers of a core that nobody asked let nobody in either.
    for late in [
        Input::Success { account: "user@a.example", data: None },
        Input::Bound(&bound_frame()),
        Input::Challenge(b"x"),
        Input::Token { token: "x", expires_ms: 0 },
    ] {
        let mut rig = opened();
        let what = format!("{late:?}");
        rig.input(late);
        check(&rig, "features", &what);
    }
}
