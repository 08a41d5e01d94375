//! Whatever bytes come in whatever state: no panic, no success.

use super::*;
use proptest::prelude::*;

fn mechanism() -> impl Strategy<Value = String> {
    prop_oneof![9 => (0..Mechanism::ALL.len()).prop_map(|i| Mechanism::ALL[i].name().to_owned()), 1 => ".*"]
}

/// Bytes that often nearly are a message.
fn message_like() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        "n,,|y,,|p=tls-exporter,,|p=tls-server-end-point,,|n=ada|,r=|,p=|c=biws|,|=|=2C|a=ada@example.org|m=|\\PC"
            .prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..6),
        Just(vec![0]),
    ];
    prop_oneof![
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat()),
        prop::collection::vec(any::<u8>(), 0..64),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn no_words_open_the_door(
        mechanism in mechanism(),
        initial in prop::option::of(message_like()),
        more in prop::collection::vec(message_like(), 0..4),
        binding in prop::sample::select(vec![UNBOUND, BY_EXPORTER, BY_END_POINT, BY_BOTH]),
    ) {
        let mut world = World::new();
        let mut stream = world.stream(Security::Tls13, binding);
        let mut seen = vec![stream.start(&mechanism, initial.as_deref())];
        seen.extend(more.iter().map(|data| stream.respond(data)));
        let succeeded = seen.iter().any(|seen| matches!(seen, Seen::Success(..)));
        prop_assert!(!succeeded, "{:?}", seen);
    }

    #[test]
    fn a_changed_last_message_never_succeeds(
        hash in 0..HASHES.len(),
        plus in any::<bool>(),
        at in any::<prop::sample::Index>(),
        cut in 0..4usize,
        put in prop::collection::vec(any::<u8>(), 0..4),
    ) {
        let (hash, name, name_plus) = HASHES[hash];
        let client = Client::new(hash, "ada", "pencil");
        let (client, mechanism) = if plus { (client.bound(EXPORTER), name_plus) } else { (client, name) };
        let mut world = World::new();
        let mut stream = world.bound();
        let right = client.last(&challenge(stream.start(mechanism, Some(&client.first())))).0.into_bytes();
        let start = at.index(right.len() + 1);
        let mut bent = right.clone();
        bent.splice(start..(start + cut).min(right.len()), put);
        let seen = stream.respond(&bent);
        prop_assert_eq!(matches!(seen, Seen::Success(..)), bent == right, "{:?}", seen);
    }
}
