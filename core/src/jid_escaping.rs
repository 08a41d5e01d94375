//! JID Escaping. A server stores, compares and routes addresses as they are on the wire (XEP-0106
//! §4.1): nothing here or elsewhere unescapes one. What is left to do is to make no account whose
//! name breaks the rules.

use crate::features::{Feature, Spec};

/// Addresses are left as they are; nothing is advertised, for that would promise a gateway (§5).
pub const FEATURE: Feature = Feature { spec: Spec::Xep(106, "1.1.1"), ..Feature::EMPTY };

/// §3.2: an escaped space is neither first nor last. Such an address is valid all the same: this is
/// for who makes one.
pub fn may_be_made(localpart: &str) -> bool {
    !localpart.starts_with("\\20") && !localpart.ends_with("\\20")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Core;

    #[test]
    fn no_space_at_the_ends() {
        for good in ["space\\20cadet", "d\\27artagnan", "\\2", "\\5c20", "20", "a\\2", "\\2plus\\2is\\4"] {
            assert!(may_be_made(good), "{good}");
        }
        for bad in ["\\20cadet", "space\\20", "\\20"] {
            assert!(!may_be_made(bad), "{bad}");
        }
    }

    /// §4.1: escaped and unescaped never meet: each spelling is an account of its own, whatever it
    /// would be unescaped.
    #[test]
    fn escaped_addresses_are_addresses() {
        let mut core = Core::new(2);
        let ada = core.login("ada@example.org/desk");
        let names = ["d\\27artagnan", "d\\5c27artagnan", "at\\26t\\20guy", "treville\\40musketeers.lit", "foo\\bar"];
        let clients = names.map(|name| core.login(&format!("{name}@example.org/x")));
        for (name, client) in names.into_iter().zip(clients) {
            core.send(client, "<presence/>");
            core.take(client);
            core.send(
                ada,
                &format!("<message to='{name}@example.org' id='{name}' type='chat'><body>x</body></message>"),
            );
            let heard = core.take(client).concat();
            assert!(
                heard.contains(&format!("id='{name}'")) && heard.contains(&format!("to='{name}@example.org'")),
                "{heard}"
            );
            core.send(client, "<message to='ada@example.org/desk' id='b' type='chat'><body>x</body></message>");
            assert!(core.take(ada).concat().contains(&format!("from='{name}@example.org/x'")));
        }
        for client in clients {
            assert_eq!(core.take(client), [""; 0], "one each");
        }
    }
}
