//! What streams of a domain advertise at each step, in the order in which it is to be negotiated
//! (XEP-0170 §2): TLS, which the edge adds; registration; SASL; resource binding and what follows it.

use crate::features;
use crate::register;
use crate::sasl::{self, Offer};
use hearth_storage::DomainRecord;
use hearth_wire::tree::Builder;

const BIND: &str = "urn:ietf:params:xml:ns:xmpp-bind";

/// Before authentication.
pub fn before_login(domain: &DomainRecord, offer: Offer) -> Vec<u8> {
    let mut tree = Builder::new();
    if register::REGISTRATION.is_on(domain) {
        register::write_feature(&mut tree);
    }
    sasl::features(offer, &mut tree);
    tree.finish()
}

/// Besides that, inside TLS, for edges that know XEP-0388.
pub fn inline_login(domain: &DomainRecord, offer: Offer) -> Vec<u8> {
    let mut tree = Builder::new();
    sasl::inline_features(offer, domain, &mut tree);
    tree.finish()
}

/// After authentication.
pub fn after_login(domain: &DomainRecord) -> Vec<u8> {
    let mut tree = Builder::new();
    tree.open(Some(BIND), "bind").close();
    for add in features::of(domain).filter_map(|feature| feature.stream_features) {
        add(domain, &mut tree);
    }
    tree.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hearth_wire::to_core::Security;
    use hearth_wire::tree;

    fn names(features: &[u8]) -> Vec<&str> {
        tree::children(features).map(|feature| feature.name()).collect()
    }

    /// Mechanisms by the two profiles, and what else the second has.
    #[test]
    fn both_profiles_offer_the_same() {
        let domain = DomainRecord::new("example.org");
        for (exporter, end_point) in [(false, false), (true, false), (false, true), (true, true)] {
            let offer = Offer { security: Security::Tls13, exporter, end_point, certified: false };
            let texts = |features: &[u8], ns: &str, name: &str| -> Vec<String> {
                let list = tree::child(features, ns, name).unwrap();
                list.children().filter(|child| child.is(ns, "mechanism")).map(|child| child.text()).collect()
            };
            let inline = inline_login(&domain, offer);
            tree::validate(&inline, tree::DEPTH_MAX).unwrap();
            assert_eq!(names(&inline), ["authentication"]);
            let first = texts(&before_login(&domain, offer), sasl::NS_SASL, "mechanisms");
            assert_eq!(texts(&inline, sasl::NS_SASL2, "authentication"), first);
            let along = tree::child(&inline, sasl::NS_SASL2, "authentication").unwrap();
            let along = along.child(sasl::NS_SASL2, "inline").unwrap();
            assert!(along.children().any(|child| child.is("urn:xmpp:sm:3", "sm")));
            // XEP-0386 would do away with messages that wait, for an archive that is not there.
            assert!(!along.children().any(|child| child.name() == "bind"));
        }
    }

    #[test]
    fn each_step_in_its_order() {
        let (closed, mut open) = (DomainRecord::new("example.org"), DomainRecord::new("example.org"));
        open.set(register::REGISTRATION.name, true);
        let offer = |security, bound| Offer { security, exporter: bound, end_point: bound, certified: false };
        // On a stream in the clear the edge puts STARTTLS before whatever this is; mostly nothing.
        let clear = offer(Security::ClearLoopback, false);
        assert_eq!(names(&before_login(&closed, clear)), ["mechanisms"]);
        assert_eq!(names(&before_login(&open, clear)), ["register", "mechanisms"]);
        let tls = offer(Security::Tls13, false);
        assert_eq!(names(&before_login(&closed, tls)), ["mechanisms"]);
        assert_eq!(names(&before_login(&open, tls)), ["register", "mechanisms"]);
        let bound = offer(Security::Tls13, true);
        assert_eq!(names(&before_login(&open, bound)), ["register", "mechanisms", "sasl-channel-binding"]);
        // Only what is negotiated comes first: binding; the rest tells what there is.
        let after = after_login(&open);
        assert_eq!(names(&after).first(), Some(&"bind"));
        assert_eq!(after, after_login(&closed));
        for feature in ["session", "c", "ver", "sub"] {
            assert!(names(&after).contains(&feature), "{feature}");
        }
        assert!(!names(&after).contains(&"mechanisms") && !names(&after).contains(&"register"));
    }
}
