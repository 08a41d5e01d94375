//! Addresses (RFC 7622).

use hearth_wire::jid::{self, PART_BYTES_MAX};
use hearth_wire::{BareJid, FullJid, Jid, prep};

/// First byte: what the rest is taken for. As text: an address or one of its parts, prepared once and for
/// all, of lawful lengths. As bytes: a message of SASL that hints at an account.
pub fn jid(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    if first % 4 == 3 {
        let mechanism = ["PLAIN", "SCRAM-SHA-1", "EXTERNAL", "SCRAM-SHA-512-PLUS"][usize::from(first >> 6)];
        let _ = jid::routing_hint(mechanism, rest);
        return;
    }
    let Ok(text) = std::str::from_utf8(rest) else { return };
    if let Ok(prepared) = prep::saslprep(text) {
        assert_eq!(prep::saslprep(&prepared).as_deref(), Ok(&*prepared), "a password is prepared once");
    }
    match first % 4 {
        0 => whole(text),
        1 => parts(text),
        _ => with_resource(text),
    }
}

fn whole(text: &str) {
    let parsed = Jid::parse(text);
    let prepared = jid::prepare(text);
    assert_eq!(parsed.as_ref().ok().map(Jid::as_str), prepared.as_deref().ok(), "two ways to prepare");
    let Ok(parsed) = parsed else { return };
    let again = Jid::parse(parsed.as_str());
    assert_eq!(again.as_ref(), Ok(&parsed), "preparing is done once: {text:?}");
    check_parts(parsed.as_str(), parsed.localpart(), parsed.domainpart(), parsed.resourcepart());
    assert_eq!(jid::split(parsed.as_str()), (parsed.localpart(), parsed.domainpart(), parsed.resourcepart()));
    assert_eq!(parsed.bare().as_str(), jid::bare_str(parsed.as_str()));
    match &parsed {
        Jid::Bare(bare) => {
            assert_eq!(BareJid::parse(text).as_ref(), Ok(bare));
            assert!(FullJid::parse(text).is_err());
        }
        Jid::Full(full) => {
            assert_eq!(FullJid::parse(text).as_ref(), Ok(full));
            assert!(BareJid::parse(text).is_err() && full.is_of(&full.bare()));
            assert_eq!(full.bare().with_resource(full.resourcepart()).as_ref(), Ok(full));
        }
    }
}

fn check_parts(whole: &str, localpart: Option<&str>, domainpart: &str, resourcepart: Option<&str>) {
    for part in [localpart, Some(domainpart), resourcepart].into_iter().flatten() {
        assert!(!part.is_empty() && part.len() <= PART_BYTES_MAX, "{whole:?}");
        assert!(!part.contains('\0'), "{whole:?}");
    }
    assert!(localpart.is_none_or(|part| !part.contains(['"', '&', '\'', '/', ':', '<', '>', '@', ' '])), "{whole:?}");
    assert!(!domainpart.contains(['/', '@', ' ']), "{whole:?}");
    let at = localpart.map_or(String::new(), |part| format!("{part}@"));
    let slash = resourcepart.map_or(String::new(), |part| format!("/{part}"));
    assert_eq!(whole, format!("{at}{domainpart}{slash}"));
}

/// What a part is prepared to is prepared, and a part of an address.
fn parts(text: &str) {
    if let Ok(part) = jid::prepare_localpart(text) {
        assert_eq!(jid::prepare_localpart(&part).as_ref(), Ok(&part), "{text:?}");
        let address = BareJid::new(Some(text), "example.org").expect("its localpart is one");
        assert_eq!(address.localpart(), Some(part.as_str()));
        whole(address.as_str());
    }
    if let Ok(part) = jid::prepare_domainpart(text) {
        assert_eq!(jid::prepare_domainpart(&part).as_ref(), Ok(&part), "{text:?}");
        let address = BareJid::new(None, text).expect("its domainpart is one");
        assert_eq!(address.domainpart(), part);
        whole(address.as_str());
    }
}

fn with_resource(text: &str) {
    if let Ok(part) = jid::prepare_resourcepart(text) {
        assert_eq!(jid::prepare_resourcepart(&part).as_ref(), Ok(&part), "{text:?}");
        let address = FullJid::new(Some("ada"), "example.org", text).expect("its resourcepart is one");
        assert_eq!(address.resourcepart(), part);
        whole(address.as_str());
    }
}
