//! Who someone says to be: user names, authorization identities, accounts that do not exist.

use super::*;

/// What the four SCRAM forms and PLAIN say to a name and an authzid, with the right password.
fn outcomes(world: &mut World, name: &str, password: &'static str, authzid: &str) -> Vec<Seen> {
    let escape = |text: &str| text.replace('=', "=3D").replace(',', "=2C");
    let mut seen = Vec::new();
    for (hash, mechanism, plus) in HASHES {
        let a = if authzid.is_empty() { String::new() } else { format!("a={}", escape(authzid)) };
        let client = Client::new(hash, &escape(name), password);
        let bound = Client::new(hash, &escape(name), password).bound(EXPORTER);
        for (mechanism, client) in
            [(mechanism, client.header(&format!("n,{a},"))), (plus, bound.header(&format!("p=tls-exporter,{a},")))]
        {
            let mut stream = world.bound();
            let first = stream.start(mechanism, Some(&client.first()));
            seen.push(if let Seen::Challenge(text) = &first { stream.respond(client.last(text).0) } else { first });
        }
    }
    seen.push(world.unbound().start("PLAIN", Some(format!("{authzid}\0{name}\0{password}").as_bytes())));
    seen
}

/// Threat: authenticated as one account, a session opened for another.
#[test]
fn threat_024_authzid_matrix() {
    let mut world = World::new();
    for authzid in ["", "ada@example.org", "ADA@Example.ORG", "ada@example.org."] {
        for seen in outcomes(&mut world, "ada", "pencil", authzid) {
            assert!(matches!(&seen, Seen::Success(account, _) if account == "ada@example.org"), "{authzid}: {seen:?}");
        }
    }
    for authzid in [
        "ada@example.org/desk",
        "ada@example.org/",
        "grace@example.org",
        "ada@example.net",
        "admin@example.org",
        "example.org",
        "ada",
        "@example.org",
        "ada@",
        "ada@@example.org",
        "ada@example.org ",
        " ",
        "o,=x@example.org",
        "ad\u{430}@example.org",
    ] {
        for seen in outcomes(&mut world, "ada", "pencil", authzid) {
            assert_eq!(seen, INVALID_AUTHZID, "{authzid:?}");
        }
    }
}

#[test]
fn names_with_comma_and_equals_sign() {
    let mut world = World::new();
    for seen in outcomes(&mut world, "o,=x", "ink", "") {
        assert!(matches!(&seen, Seen::Success(account, _) if account == "o,=x@example.org"), "{seen:?}");
    }
    for seen in outcomes(&mut world, "o,=x", "ink", "O,=X@example.org") {
        assert!(matches!(&seen, Seen::Success(account, _) if account == "o,=x@example.org"), "{seen:?}");
    }
}

/// Names by PRECIS and IDNA, passwords by SASLprep, whichever way a client writes them.
#[test]
fn prepared_names_and_passwords() {
    let mut world = World::new();
    let password = prepare_password("I\u{ad}X \u{2168}").unwrap();
    assert_eq!(password.expose(), b"IX IX");
    world.accounts.insert("j\u{fc}rgen@example.org".into(), credentials("IX IX", 10));
    for name in ["j\u{fc}rgen", "J\u{dc}RGEN", "ju\u{308}rgen"] {
        for seen in outcomes(&mut world, name, "IX IX", "J\u{dc}rgen@EXAMPLE.org") {
            assert!(matches!(&seen, Seen::Success(account, _) if account == "j\u{fc}rgen@example.org"), "{seen:?}");
        }
    }
    let plain = "\0j\u{fc}rgen\0I\u{ad}X\u{a0}\u{2168}";
    assert!(matches!(world.unbound().start("PLAIN", Some(plain.as_bytes())), Seen::Success(..)));
    assert!(prepare_password("\u{ad}").is_none() && prepare_password("a\u{7}").is_none());
}

/// A wrong password and an unknown name look the same in every message.
#[test]
fn threat_032_unknown_accounts_are_indistinguishable() {
    let mut world = World::new();
    // The known one as a server would have stored it.
    world.accounts.insert("ada@example.org".into(), credentials("pencil", limits::SCRAM_ITERATIONS));
    for (hash, mechanism, plus) in HASHES {
        for mechanism in [mechanism, plus] {
            let talk = |world: &mut World, name: &str| {
                let client = Client::new(hash, name, "wrong");
                let client = if mechanism.ends_with("PLUS") { client.bound(EXPORTER) } else { client };
                let mut stream = world.bound();
                let first = challenge(stream.start(mechanism, Some(&client.first())));
                let nonce = attribute(&first, "r=").to_owned();
                let salt = BASE64.decode(attribute(&first, "s=")).unwrap();
                let end = stream.respond(client.last(&first).0);
                let shape = first.replace(&nonce, "").replace(&BASE64.encode(&salt), "");
                (shape, nonce.len(), salt, end)
            };
            let known = talk(&mut world, "ada");
            let unknown = talk(&mut world, "eve");
            assert_eq!(
                (&known.0, known.1, known.2.len(), &known.3),
                (&unknown.0, unknown.1, unknown.2.len(), &unknown.3)
            );
            assert_eq!(unknown.3, NOT_AUTHORIZED);
            assert_eq!(unknown.2, talk(&mut world, "eve").2, "the salt is the same each time");
            assert_eq!(unknown.2, talk(&mut world, "EVE").2, "and for each way to write the name");
            assert_ne!(unknown.2, talk(&mut world, "mallory").2, "but not for each name");
        }
    }
    // Keys of another length would be compared in another time.
    let real = credentials("pencil", 1);
    for (hash, keys) in [(Hash::Sha1, real.sha1), (Hash::Sha256, real.sha256), (Hash::Sha512, real.sha512)] {
        let made_up = pretence(hash, &Secret::new(SECRET), &BareJid::parse("eve@example.org").unwrap());
        let lengths = |keys: &ScramKeys| [keys.salt.len(), keys.stored_key.len(), keys.server_key.len()];
        assert_eq!(lengths(&made_up), lengths(&keys), "{hash:?}");
    }
    let salt = |hash, secret: u8, name| pretence(hash, &Secret::new([secret; 32]), &BareJid::parse(name).unwrap()).salt;
    let base = salt(Hash::Sha1, 1, "eve@example.org");
    assert_ne!(base, salt(Hash::Sha256, 1, "eve@example.org"));
    assert_ne!(base, salt(Hash::Sha1, 2, "eve@example.org"));
    assert_ne!(base, salt(Hash::Sha1, 1, "eve@example.net"));
}

/// PLAIN asks for the same derivation whether the account exists or not.
#[test]
fn unknown_accounts_cost_the_same() {
    let mut world = World::new();
    let real = credentials("pencil", limits::SCRAM_ITERATIONS);
    let ask = |world: &mut World, found: Option<&Credentials>| {
        let mut exchange = Exchange::new(&mut world.random, &SECRET);
        let mut out = Vec::new();
        let (security, binding) = (Security::Tls13, UNBOUND);
        let initial = Some(&b"\0ada\0wrong"[..]);
        exchange.handle(
            Input::Start {
                mechanism: "PLAIN",
                initial,
                security,
                binding,
                domain: "example.org",
                along: Along::default(),
            },
            &mut out,
        );
        exchange.handle(Input::Credentials(found), &mut out);
        match out.pop() {
            Some(Output::Derive(Task::Verify { hash, password, salt, iterations })) => {
                (hash, password.expose().to_vec(), salt.len(), iterations)
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(ask(&mut world, Some(&real)), ask(&mut world, None));
}

/// Even keys that fit open nothing when there is no account.
#[test]
fn a_pretence_cannot_be_proved() {
    let mut world = World::new();
    let eve = BareJid::parse("eve@example.org").unwrap();
    let mut stream = world.unbound();
    let mut out = Vec::new();
    let (security, binding, domain) = (stream.security, UNBOUND, "example.org");
    let initial = Some(&b"\0eve\0x"[..]);
    stream.exchange.handle(
        Input::Start { mechanism: "PLAIN", initial, security, binding, domain, along: Along::default() },
        &mut out,
    );
    stream.exchange.handle(Input::Credentials(None), &mut out);
    let keys = pretence(Hash::Sha256, &Secret::new(SECRET), &eve);
    assert_eq!(stream.feed(Input::Derived(Derived::Keys(keys))), NOT_AUTHORIZED);

    for known in [true, false] {
        let client = Client::new(Hash::Sha256, "eve", "pencil");
        let start = Start {
            kind: Mechanism::ScramSha256.kind(),
            offer: Offer::of(Security::Tls12, &UNBOUND),
            from: None,
            exporter: None,
            end_point: None,
            domain: domain.into(),
            certified: Vec::new(),
        };
        let text = String::from_utf8(client.first()).unwrap();
        let (first, ..) = scram::First::parse(&text, Hash::Sha256, false, &start).unwrap();
        let found = credentials("pencil", 10);
        let keys = Keys { known, ..Keys::pick(Hash::Sha256, Some(&found), &Secret::new(SECRET), &eve) };
        let (challenge, proof) = first.challenge(keys, "servernonce");
        let (last, _) = client.last(std::str::from_utf8(&challenge).unwrap());
        assert_eq!(proof.verify(last.as_bytes()).is_ok(), known);
    }
}
