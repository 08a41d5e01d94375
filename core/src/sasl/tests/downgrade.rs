//! Somebody between client and server who makes the offer a poorer one (threats, row 34).

use super::*;

/// XEP-0474 §5.3 prints the offer and what comes of it.
#[test]
fn the_printed_hash() {
    let listed = "SCRAM-SHA-1\x1eSCRAM-SHA-1-PLUS\x1ftls-exporter\x1etls-server-end-point";
    assert_eq!(scram::offered_hash(listed, Hash::Sha1), "G6k/rBLDqgOhRRaCuuatSDFkJ08=");
}

/// `h` of a challenge.
fn announced(security: Security, binding: ChannelBinding<'static>, hash: Hash) -> String {
    let (_, mechanism, _) = HASHES.into_iter().find(|row| row.0 == hash).unwrap();
    let mut world = World::new();
    let first = Client::new(hash, "ada", "pencil").first();
    let challenge = challenge(world.stream(security, binding).start(mechanism, Some(&first)));
    attribute(&challenge, "h=").to_owned()
}

/// What a client works out of the features it saw (XEP-0474 §5.2), independent of how the server does.
fn seen(features: &[u8], hash: Hash) -> String {
    let mut mechanisms: Vec<String> =
        tree::child(features, NS_SASL, "mechanisms").unwrap().children().map(|e| e.text()).collect();
    mechanisms.sort();
    let mut listed = mechanisms.join("\x1e");
    if let Some(types) = tree::child(features, NS_CHANNEL_BINDING, "sasl-channel-binding") {
        let mut types: Vec<String> = types.children().map(|e| e.attr("type").unwrap().to_owned()).collect();
        types.sort();
        listed = format!("{listed}\x1f{}", types.join("\x1e"));
    }
    BASE64.encode(hash.digest(listed.as_bytes()))
}

#[test]
fn threat_034_a_challenge_tells_what_the_stream_was_offered() {
    for (security, binding) in [
        (Security::Tls13, BY_BOTH),
        (Security::Tls13, BY_EXPORTER),
        (Security::Tls12, BY_END_POINT),
        (Security::Tls12, UNBOUND),
        (Security::ClearLoopback, UNBOUND),
    ] {
        let mut tree = tree::Builder::new();
        features(Offer::of(security, &binding), &mut tree);
        let features = tree.finish();
        for (hash, ..) in HASHES {
            assert_eq!(announced(security, binding, hash), seen(&features, hash), "{hash:?} on {binding:?}");
        }
    }
    // A poorer offer is another one, to each hash.
    for (hash, ..) in HASHES {
        let all = [BY_BOTH, BY_EXPORTER, BY_END_POINT, UNBOUND].map(|b| announced(Security::Tls13, b, hash));
        let different: std::collections::BTreeSet<&String> = all.iter().collect();
        assert_eq!(different.len(), all.len());
    }
}

/// Who also changes what the challenge tells is found out by the proof.
#[test]
fn threat_034_a_challenge_bent_to_a_poorer_offer_is_refused() {
    for (hash, mechanism, _) in HASHES {
        let mut world = World::new();
        let client = Client::new(hash, "ada", "pencil");
        let mut stream = world.bound();
        let sent = challenge(stream.start(mechanism, Some(&client.first())));
        let poorer = announced(Security::Tls13, UNBOUND, hash);
        let bent = sent.replace(attribute(&sent, "h="), &poorer);
        assert_ne!(bent, sent);
        assert_eq!(stream.respond(client.last(&bent).0), NOT_AUTHORIZED);
        // And without it at all.
        let mut stream = world.bound();
        let sent = challenge(stream.start(mechanism, Some(&client.first())));
        let (cut, _) = sent.split_once(",h=").unwrap();
        assert_eq!(stream.respond(client.last(cut).0), NOT_AUTHORIZED);
    }
}
