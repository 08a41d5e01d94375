//! Tokens proved by the HT mechanisms (draft-schmaus-kitten-sasl-ht-09).

use super::*;

const ALL: [(Mechanism, TokenBinding, &[u8]); 3] = [
    (Mechanism::TokenExporter, TokenBinding::Exporter, EXPORTER),
    (Mechanism::TokenEndPoint, TokenBinding::EndPoint, END_POINT),
    (Mechanism::TokenUnbound, TokenBinding::None, b""),
];

fn token(byte: u8, binding: TokenBinding) -> Token {
    Token { secret: [byte; TOKEN_BYTES], binding, issued_ms: 0, expires_ms: 0, count: 0, credentials: 0 }
}

/// What a client of that token says, worked out apart from the server.
fn message(name: &str, secret: [u8; TOKEN_BYTES], who: &str, cbind_data: &[u8]) -> Vec<u8> {
    let text = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(secret);
    let tag = Hash::Sha256.hmac(text.as_bytes(), &[who.as_bytes(), cbind_data]);
    [name.as_bytes(), &[0], tag.as_ref()].concat()
}

fn prove(world: &mut World, mechanism: Mechanism, initial: &[u8]) -> Seen {
    let mut stream = world.bound();
    stream.by_token = true;
    stream.start(mechanism.name(), Some(initial))
}

#[test]
fn either_token_of_the_client_is_proved_by_its_own_mechanism() {
    for (mechanism, binding, data) in ALL {
        let mut world = World::new();
        world.tokens = vec![token(1, binding), token(2, binding)];
        for byte in [1, 2] {
            let mut stream = world.bound();
            stream.by_token = true;
            let initial = message("ADA", [byte; TOKEN_BYTES], "Initiator", data);
            let mut out = Vec::new();
            let (security, at) = (stream.security, stream.binding);
            let along = Along { by_token: true, ..Along::default() };
            let (name, domain) = (mechanism.name(), "example.org");
            let start = Input::Start { mechanism: name, initial: Some(&initial), security, binding: at, domain, along };
            stream.exchange.handle(start, &mut out);
            assert!(matches!(out.pop(), Some(Output::LoadTokens(jid)) if jid.as_str() == "ada@example.org"));
            assert!(stream.exchange.wants_tokens());
            // What answers another question proves nothing.
            stream.exchange.handle(Input::Credentials(None), &mut out);
            assert!(out.is_empty());
            stream.exchange.handle(Input::Tokens(&stream.world.tokens), &mut out);
            let Some(Output::Success { account, proved }) = out.pop() else { panic!("{mechanism:?}") };
            assert_eq!(account.as_str(), "ada@example.org");
            assert_eq!(proved.token.unwrap().expose(), [byte; TOKEN_BYTES]);
            let answer = message("", [byte; TOKEN_BYTES], "Responder", data);
            assert_eq!(proved.data.unwrap(), answer[1..]);
        }
        // §3.4: bound to the mechanism it was made for, whatever another would prove.
        for (other, _, data) in ALL {
            let seen = prove(&mut world, other, &message("ada", [1; TOKEN_BYTES], "Initiator", data));
            assert_eq!(matches!(seen, Seen::Success(..)), other == mechanism, "{other:?} for {mechanism:?}");
            assert!(other == mechanism || seen == NOT_AUTHORIZED);
        }
    }
}

#[test]
fn what_does_not_prove_a_token_is_refused() {
    let (mechanism, binding, data) = ALL[0];
    let mut world = World::new();
    world.tokens = vec![token(1, binding)];
    let good = message("ada", [1; TOKEN_BYTES], "Initiator", data);
    assert!(matches!(prove(&mut world, mechanism, &good), Seen::Success(..)));
    for byte in 4..good.len() {
        let mut bad = good.clone();
        bad[byte] ^= 1;
        assert_eq!(prove(&mut world, mechanism, &bad), NOT_AUTHORIZED, "byte {byte}");
    }
    for bad in [
        message("ada", [2; TOKEN_BYTES], "Initiator", data),
        message("ada", [1; TOKEN_BYTES], "Responder", data),
        message("ada", [1; TOKEN_BYTES], "Initiator", END_POINT),
        message("eve", [1; TOKEN_BYTES], "Initiator", data),
        message("o,=x@example.org", [1; TOKEN_BYTES], "Initiator", data),
    ] {
        assert_eq!(prove(&mut world, mechanism, &bad), NOT_AUTHORIZED);
    }
    for malformed in
        [&b""[..], b"ada", b"ada\0", b"\0", &good[3..], &good[..35], &[&good[..], b"x"].concat(), b"a\xff\0"]
    {
        assert_eq!(prove(&mut world, mechanism, malformed), MALFORMED, "{malformed:?}");
    }
    // No client has the token that stands for those that are not there.
    let pretence = world.bound().exchange.token_pretence();
    let seen = prove(&mut world, mechanism, &message("ada", pretence, "Initiator", data));
    assert_eq!(seen, NOT_AUTHORIZED);
    world.tokens.clear();
    let seen = prove(&mut world, mechanism, &message("ada", pretence, "Initiator", data));
    assert_eq!(seen, NOT_AUTHORIZED);
}

#[test]
fn threat_029_token_mechanisms_are_for_streams_that_offer_them() {
    for (security, binding, there) in [
        (Security::Tls13, BY_BOTH, [true, true, true]),
        (Security::Tls13, BY_EXPORTER, [true, false, true]),
        (Security::Tls12, BY_END_POINT, [false, true, true]),
        (Security::Tls12, UNBOUND, [false, false, true]),
        (Security::ClearLoopback, BY_BOTH, [false; 3]),
    ] {
        let mut tree = tree::Builder::new();
        inline_features(Offer::of(security, &binding), &DomainRecord::new("example.org"), &mut tree);
        let tree = tree.finish();
        let fast = tree::child(&tree, NS_SASL2, "authentication").and_then(|a| a.child(NS_SASL2, "inline"));
        let fast = fast.and_then(|inline| inline.child("urn:xmpp:fast:0", "fast")).unwrap();
        assert_eq!(fast.attr("tls-0rtt"), None);
        let named: Vec<String> = fast.children().map(|child| child.text()).collect();
        for (at, (mechanism, token_binding, data)) in ALL.into_iter().enumerate() {
            let mut world = World::new();
            world.tokens = vec![token(1, token_binding)];
            let initial = message("ada", [1; TOKEN_BYTES], "Initiator", data);
            assert_eq!(named.iter().any(|name| name == mechanism.name()), there[at], "{mechanism:?}");
            for by_token in [true, false] {
                let mut stream = world.stream(security, binding);
                stream.by_token = by_token;
                let seen = stream.start(mechanism.name(), Some(&initial));
                if by_token && there[at] {
                    assert!(matches!(seen, Seen::Success(..)), "{mechanism:?} on {binding:?}: {seen:?}");
                } else {
                    // By RFC 6120, or without `<fast/>`, they are not offered at all.
                    assert_eq!(seen, INVALID_MECHANISM, "{mechanism:?} on {binding:?}");
                }
            }
        }
    }
}

/// Nobody learns by a token that is not there whether the account is.
#[test]
fn threat_032_no_token_tells_which_accounts_there_are() {
    for (mechanism, binding, data) in ALL {
        let mut world = World::new();
        for tokens in [vec![], vec![token(1, binding)], vec![token(1, binding), token(2, binding)]] {
            world.tokens = tokens;
            for name in ["ada", "eve", "o,=x"] {
                let seen = prove(&mut world, mechanism, &message(name, [9; TOKEN_BYTES], "Initiator", data));
                assert_eq!(seen, NOT_AUTHORIZED, "{name}");
            }
        }
    }
}
