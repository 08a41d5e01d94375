//! Everything of a SCRAM exchange that a client could bend.

use super::*;

/// Runs a client's first message, lets `bend` make the last one, and says what came of it.
fn last_message(plus: bool, hash: Hash, bend: impl Fn(&Client, &str) -> String) -> Seen {
    let mut world = World::new();
    let (_, name, name_plus) = HASHES.into_iter().find(|row| row.0 == hash).unwrap();
    let client = Client::new(hash, "ada", "pencil");
    let (client, mechanism) = if plus { (client.bound(EXPORTER), name_plus) } else { (client, name) };
    let mut stream = world.bound();
    let challenge = challenge(stream.start(mechanism, Some(&client.first())));
    let last = bend(&client, &challenge);
    let seen = stream.respond(last);
    assert!(stream.exchange.is_over(), "one proof per exchange");
    seen
}

fn every(bend: impl Fn(&Client, &str) -> String) -> Vec<Seen> {
    let forms = HASHES.into_iter().flat_map(|(hash, ..)| [(false, hash), (true, hash)]);
    forms.map(|(plus, hash)| last_message(plus, hash, &bend)).collect()
}

#[track_caller]
fn refused(condition: &Seen, bend: impl Fn(&Client, &str) -> String) {
    every(bend).iter().for_each(|seen| assert_eq!(seen, condition));
}

#[test]
fn unbent_succeeds() {
    assert!(every(|c, s| c.last(s).0).iter().all(|seen| matches!(seen, Seen::Success(..))));
}

#[test]
fn proof() {
    for byte in 0..20 {
        refused(&NOT_AUTHORIZED, |c, s| {
            let (last, _) = c.last(s);
            let (head, proof) = last.rsplit_once(",p=").unwrap();
            let mut proof = BASE64.decode(proof).unwrap();
            proof[byte] ^= 0x10;
            format!("{head},p={}", BASE64.encode(proof))
        });
    }
    let without = |c: &Client, s: &str| c.last(s).0.rsplit_once(",p=").unwrap().0.to_owned();
    let with = |proof: &'static str| move |c: &Client, s: &str| format!("{},p={proof}", without(c, s));
    refused(&MALFORMED, without);
    refused(&MALFORMED, with(""));
    refused(&MALFORMED, with("AAAA"));
    refused(&MALFORMED, with("%"));
    refused(&MALFORMED, |c, s| c.last(s).0 + ",x=after");
    refused(&MALFORMED, |c, s| c.last(s).0 + "\n");
    refused(&MALFORMED, |c, s| c.last(s).0.trim_end_matches('=').to_owned());
    refused(&NOT_AUTHORIZED, |c, s| {
        let (last, _) = c.last(s);
        let (head, _) = last.rsplit_once(",p=").unwrap();
        format!("{head},p={}", BASE64.encode(vec![0; c.hash.output_len()]))
    });
    // Another account's password, and the proof of another challenge.
    refused(&NOT_AUTHORIZED, |c, s| {
        let other = Client {
            password: "ink",
            header: c.header.clone(),
            bare: c.bare.clone(),
            cbind_data: c.cbind_data.clone(),
            ..*c
        };
        other.last(s).0
    });
    refused(&NOT_AUTHORIZED, |c, s| {
        let (last, _) = c.last(&s.replace("r=clientnonce", "r=clientnoncE"));
        last.replace("r=clientnoncE", "r=clientnonce")
    });
}

#[test]
fn nonce() {
    let with = |nonce: fn(&str) -> String| {
        move |c: &Client, s: &str| c.prove(s, &format!("c={},r={}", c.cbind(), nonce(attribute(s, "r=")))).0
    };
    refused(&NOT_AUTHORIZED, with(|_| "clientnonce".into()));
    refused(&NOT_AUTHORIZED, with(|n| n.to_owned() + "x"));
    refused(&NOT_AUTHORIZED, with(|n| n[..n.len() - 1].to_owned()));
    refused(&NOT_AUTHORIZED, with(str::to_ascii_uppercase));
    refused(&NOT_AUTHORIZED, with(|n| n.replace("clientnonce", "")));
    refused(&NOT_AUTHORIZED, with(|_| String::new()));
}

#[test]
fn channel_binding() {
    let with = |cbind: Vec<u8>| {
        move |c: &Client, s: &str| c.prove(s, &format!("c={},r={}", BASE64.encode(&cbind), attribute(s, "r="))).0
    };
    let bound = |data: &[u8]| [b"p=tls-exporter,,", data].concat();
    for cbind in [
        b"y,,".to_vec(),
        b"n,a=ada,".to_vec(),
        b"n,".to_vec(),
        Vec::new(),
        b"n,,".repeat(2),
        bound(b""),
        bound(&EXPORTER[1..]),
    ] {
        refused(&NOT_AUTHORIZED, with(cbind));
    }
    // What is right for one kind of stream is wrong for the other.
    let bound_header = with(bound(EXPORTER));
    assert_eq!(last_message(false, Hash::Sha1, &bound_header), NOT_AUTHORIZED);
    assert!(matches!(last_message(true, Hash::Sha1, &bound_header), Seen::Success(..)));
    assert_eq!(last_message(true, Hash::Sha1, with(b"n,,".to_vec())), NOT_AUTHORIZED);
    // Every byte of the channel's data counts.
    for byte in 0..EXPORTER.len() {
        let mut other = EXPORTER.to_vec();
        other[byte] ^= 1;
        assert_eq!(last_message(true, Hash::Sha256, with(bound(&other))), NOT_AUTHORIZED);
    }
    refused(&MALFORMED, |c, s| c.prove(s, &format!("c=biws*,r={}", attribute(s, "r="))).0);
    refused(&MALFORMED, |c, s| c.prove(s, &format!("c=bix=,r={}", attribute(s, "r="))).0);
}

#[test]
fn order_and_extensions_of_the_last_message() {
    let with =
        |form: fn(&str, &str) -> String| move |c: &Client, s: &str| c.prove(s, &form(&c.cbind(), attribute(s, "r="))).0;
    refused(&MALFORMED, with(|c, r| format!("r={r},c={c}")));
    refused(&MALFORMED, with(|c, _| format!("c={c}")));
    refused(&MALFORMED, with(|_, r| format!("r={r}")));
    refused(&MALFORMED, with(|c, r| format!("m=x,c={c},r={r}")));
    refused(&MALFORMED, with(|c, r| format!("c={c},r={r},m=x")));
    refused(&MALFORMED, with(|c, r| format!("c={c},r={r},r={r}")));
    refused(&MALFORMED, with(|c, r| format!("c={c},r={r},")));
    refused(&MALFORMED, with(|c, r| format!("c={c},r={r},x")));
    refused(&MALFORMED, with(|c, r| format!("c={c},r={r},x=")));
    refused(&MALFORMED, with(|c, r| format!(" c={c},r={r}")));
    let known = every(with(|c, r| format!("c={c},r={r},x=1,Y=z=z")));
    assert!(known.iter().all(|seen| matches!(seen, Seen::Success(..))), "unknown extensions pass: {known:?}");
    refused(&MALFORMED, |_, _| String::new());
    refused(&MALFORMED, |c, s| "x".repeat(limits::SASL_MESSAGE_BYTES_MAX) + &c.last(s).0);
}

/// Each type is bound by its own data, and only where the stream was offered it (XEP-0440).
#[test]
fn types_of_channel_binding() {
    const TYPES: [(&str, &[u8]); 2] = [("tls-exporter", EXPORTER), ("tls-server-end-point", END_POINT)];
    for (hash, _, mechanism) in HASHES {
        for (offered, there) in [(BY_EXPORTER, [true, false]), (BY_END_POINT, [false, true]), (BY_BOTH, [true; 2])] {
            for ((name, right), there) in TYPES.into_iter().zip(there) {
                for (_, data) in TYPES {
                    let mut world = World::new();
                    let client = Client::new(hash, "ada", "pencil").bound_by(name, data);
                    let mut stream = world.stream(Security::Tls12, offered);
                    let seen = match stream.start(mechanism, Some(&client.first())) {
                        Seen::Challenge(challenge) => stream.respond(client.last(&challenge).0),
                        seen => seen,
                    };
                    if there && data == right {
                        assert!(matches!(seen, Seen::Success(..)), "{mechanism} {name}: {seen:?}");
                    } else {
                        assert_eq!(seen, NOT_AUTHORIZED, "{mechanism} {name} on {offered:?}");
                    }
                }
            }
        }
    }
}

/// The gs2 header against what the stream is (RFC 5802 §6).
#[test]
fn threat_034_header_of_the_first_message() {
    let mut world = World::new();
    let bare = "n=ada,r=nonce";
    for (flag, plain_unbound, plain_bound, plus) in [
        ("n", true, true, Err(MALFORMED)),
        // The stream has -PLUS and the client believes it has not: a downgrade.
        ("y", true, false, Err(MALFORMED)),
        ("p=tls-exporter", false, false, Ok(())),
        ("p=tls-unique", false, false, Err(NOT_AUTHORIZED)),
        ("p=tls-server-end-point", false, false, Ok(())),
        ("p=tls-server-end-poinT", false, false, Err(NOT_AUTHORIZED)),
        ("p=", false, false, Err(MALFORMED)),
        ("p=tls exporter", false, false, Err(MALFORMED)),
        ("p", false, false, Err(MALFORMED)),
        ("Y", false, false, Err(MALFORMED)),
        ("", false, false, Err(MALFORMED)),
        ("F,n", false, false, Err(MALFORMED)),
    ] {
        let first = format!("{flag},,{bare}");
        let first = Some(first.as_bytes());
        for (_, name, name_plus) in HASHES {
            let goes_on = |seen: Seen| matches!(seen, Seen::Challenge(_));
            assert_eq!(goes_on(world.unbound().start(name, first)), plain_unbound, "{flag} unbound");
            assert_eq!(goes_on(world.bound().start(name, first)), plain_bound, "{flag} bound");
            let seen = world.bound().start(name_plus, first);
            match &plus {
                Ok(()) => assert!(goes_on(seen)),
                Err(expected) => assert_eq!(seen, *expected, "{flag} plus"),
            }
        }
    }
    assert_eq!(world.bound().start("SCRAM-SHA-1", Some(b"y,,n=ada,r=nonce")), NOT_AUTHORIZED);
}

#[test]
fn first_message() {
    let mut world = World::new();
    for first in [
        "n,,",
        "n,",
        "n",
        "n=ada,r=x",
        "n,,r=x,n=ada",
        "n,,n=ada",
        "n,,n=ada,r=",
        "n,,n=,r=x",
        "n,,m=1,n=ada,r=x",
        "n,,n=ada,r=x,m=1",
        "n,,n=ada,r=x,n=eve",
        "n,,n=ada,r=x,p=x",
        "n,,n=ada,r=x,",
        "n,,n=ada,r=x,1=x",
        "n,,n=ada,r=a b",
        "n,,n=ada,r=ä",
        "n,ada,n=ada,r=x",
        "n,a=,n=ada,r=x",
        "n,x=ada,n=ada,r=x",
        " n,,n=ada,r=x",
        "n,,N=ada,r=x",
        "n,,n=ada,R=x",
        "n,,n=ada,s=x,r=x",
        "n,,n=a=da,r=x",
        "n,,n=ada=,r=x",
        "n,,n=ada=2,r=x",
        "n,,n=ada=2c,r=x",
        "n,,n=ada=3d,r=x",
        "n,,n==ada,r=x",
        "n,,n=ada\0,r=x",
    ] {
        assert_eq!(world.unbound().start("SCRAM-SHA-256", Some(first.as_bytes())), MALFORMED, "{first:?}");
    }
    for first in ["n,,n=ada,r=x", "y,,n=ada,r=x", "n,a=ada@example.org,n=ada,r=x", "n,,n=ADA,r=!~", "n,,n=ada,r=x,x=y"]
    {
        challenge(world.unbound().start("SCRAM-SHA-256", Some(first.as_bytes())));
    }
    assert_eq!(world.unbound().start("SCRAM-SHA-256", Some(b"n,,n=\xff,r=x")), MALFORMED);
    let long = format!("n,,n=ada,r={}", "x".repeat(limits::SASL_MESSAGE_BYTES_MAX));
    assert_eq!(world.unbound().start("SCRAM-SHA-256", Some(long.as_bytes())), MALFORMED);
}

#[test]
fn plain_messages() {
    let mut world = World::new();
    for initial in
        [&b""[..], b"ada", b"ada\0pencil", b"\0ada\0", b"\0\0pencil", b"\0\0", b"\0ada\0pencil\0", b"\0ada\0\xff"]
    {
        assert_eq!(world.unbound().start("PLAIN", Some(initial)), MALFORMED, "{initial:?}");
    }
    for initial in [
        &b"\0ada\0Pencil"[..],
        b"\0ada\0pencil ",
        b"\0ada\0\x01",
        b"\0ada@example.org\0pencil",
        b"\0example.org\0pencil",
    ] {
        assert_eq!(world.unbound().start("PLAIN", Some(initial)), NOT_AUTHORIZED, "{initial:?}");
    }
}

/// Nonces differ between exchanges and are not the client's to choose.
#[test]
fn server_nonce_is_fresh() {
    let mut world = World::new();
    let mut seen = std::collections::HashSet::new();
    for _ in 0..100 {
        let text = challenge(world.unbound().start("SCRAM-SHA-1", Some(b"n,,n=ada,r=same")));
        let nonce = attribute(&text, "r=").strip_prefix("same").unwrap().to_owned();
        assert!(nonce.len() >= 24 && nonce.bytes().all(|b| b.is_ascii_graphic() && b != b','));
        assert!(seen.insert(nonce));
    }
}

/// A nonce is kept several times while its exchange is under way, so it is no longer than any client's.
#[test]
fn threat_001_a_nonce_is_short() {
    let mut world = World::new();
    for (_, name, _) in HASHES {
        for (len, taken) in [(512, true), (513, false), (6_000, false)] {
            let first = format!("n,,n=ada,r={}", "r".repeat(len));
            let seen = world.unbound().start(name, Some(first.as_bytes()));
            assert_eq!(matches!(seen, Seen::Challenge(_)), taken, "{name} {len}");
            assert!(taken || seen == MALFORMED);
        }
    }
}
