//! Who runs a domain: contact addresses, told with the server's disco#info.

use crate::features::{Feature, Spec};
use crate::forms::Info;
use crate::limits;
use hearth_storage::{Contacts, DomainRecord};
use hearth_wire::{Jid, jid};

/// Registered by XEP-0128 and filled by XEP-0157.
const FORM_TYPE: &str = "http://jabber.org/network/serverinfo";

pub const FEATURE: Feature = Feature { spec: Spec::Xep(157, "1.1.1"), info: Some(info), ..Feature::EMPTY };

/// The roles of XEP-0157 §7.1 and what is configured of each.
fn roles(contacts: &Contacts) -> [(&'static str, &'static str, &[String]); 7] {
    [
        ("abuse", "abuse-addresses", &contacts.abuse),
        ("admin", "admin-addresses", &contacts.admin),
        ("feedback", "feedback-addresses", &contacts.feedback),
        ("sales", "sales-addresses", &contacts.sales),
        ("security", "security-addresses", &contacts.security),
        ("status", "status-addresses", &contacts.status),
        ("support", "support-addresses", &contacts.support),
    ]
}

/// XEP-0157 §3; nothing where nothing is configured.
fn info(domain: &DomainRecord) -> Option<Info> {
    let filled = roles(&domain.contacts).into_iter().filter(|(_, _, uris)| !uris.is_empty());
    let fields: Vec<_> = filled.map(|(_, var, uris)| (var, uris.to_vec())).collect();
    (!fields.is_empty()).then_some(Info { form_type: FORM_TYPE, fields })
}

/// Whether all contacts are URIs that somebody can use; the message says which is not, by its role.
pub fn check(contacts: &Contacts) -> Result<(), String> {
    for (role, _, uris) in roles(contacts) {
        if uris.len() > limits::CONTACTS_MAX {
            return Err(format!("{role}: expected at most {} addresses", limits::CONTACTS_MAX));
        }
        for uri in uris {
            let broken = || format!("{role} = {uri:?}: expected a URI, such as mailto:{role}@example.org");
            if uri.len() > limits::CONTACT_BYTES_MAX || !is_uri(uri) {
                return Err(broken());
            }
        }
    }
    Ok(())
}

/// RFC 3986 §3 as far as characters and scheme go; and of the schemes one reaches people by, that
/// there is somebody to reach: `mailto:` (RFC 6068), `xmpp:` (RFC 5122), `http:` and `https:`.
fn is_uri(uri: &str) -> bool {
    let Some((scheme, rest)) = uri.split_once(':') else { return false };
    let mut letters = scheme.bytes();
    let named = letters.next().is_some_and(|first| first.is_ascii_alphabetic())
        && letters.all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    if !named || rest.is_empty() || !characters(rest) {
        return false;
    }
    let path = rest.split(['?', '#']).next().unwrap_or_default();
    match scheme.to_ascii_lowercase().as_str() {
        "mailto" => {
            path.split(',').all(|to| matches!(to.rsplit_once('@'), Some((a, b)) if !a.is_empty() && !b.is_empty()))
        }
        "xmpp" => unescape(path).is_some_and(|address| Jid::parse(&address).is_ok()),
        "http" | "https" => {
            let host = rest.strip_prefix("//").and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or_default();
            let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
            let host = match host.rsplit_once(':') {
                Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
                _ => host,
            };
            jid::prepare_domainpart(host).is_ok()
        }
        _ => true,
    }
}

/// Unreserved, reserved and percent-encoded characters (RFC 3986 §2).
fn characters(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&byte);
    text.bytes().all(allowed) && unescape(text).is_some()
}

/// Percent-decoding; `None` if an escape is broken.
fn unescape(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut out = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (hex, rest) = part.split_at_checked(2)?;
        if !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        out.push(u8::from_str_radix(hex, 16).ok()?);
        out.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris() {
        for good in [
            "mailto:admin@example.org",
            "mailto:admin@example.org?subject=Hearth",
            "mailto:a@example.org,b@example.org",
            "xmpp:admin@example.org",
            "xmpp:admin@example.org?message",
            "xmpp:d%5c27artagnan@example.org",
            "XMPP:example.org",
            "https://example.org",
            "https://example.org:8443/contact?x=1#y",
            "http://[2001:db8::1]/",
            "tel:+358-555-1234567",
            "sip:admin@example.org",
        ] {
            assert!(is_uri(good), "{good}");
        }
        for bad in [
            "",
            "admin@example.org",
            "mailto:",
            "mailto:admin",
            "mailto:@example.org",
            "mailto:a@",
            "mailto:a@b.c,",
            "xmpp:",
            "xmpp:a@b@c",
            "xmpp:@example.org",
            "https:example.org",
            "https://",
            "https:///path",
            "https://a b/",
            "1http://example.org",
            ":x",
            "mail to:a@b",
            "mailto:a@b c",
            "https://example.org/%zz",
            "https://example.org/%4",
            "https://example.org/<b>",
            "mailto:\u{e9}@example.org",
        ] {
            assert!(!is_uri(bad), "{bad}");
        }
    }

    #[test]
    fn checked_by_role_and_number() {
        let admin = |uris: Vec<String>| check(&Contacts { admin: uris, ..Contacts::default() });
        assert_eq!(admin(vec!["xmpp:a@b".to_owned(); limits::CONTACTS_MAX]), Ok(()));
        assert!(admin(vec!["xmpp:a@b".to_owned(); limits::CONTACTS_MAX + 1]).unwrap_err().starts_with("admin"));
        assert!(admin(vec!["me".to_owned()]).unwrap_err().starts_with("admin = \"me\""));
        assert!(admin(vec![format!("https://a/{}", "x".repeat(limits::CONTACT_BYTES_MAX))]).is_err());
    }

    #[test]
    fn nothing_is_told_where_nothing_is_configured() {
        let mut domain = DomainRecord::new("example.org");
        assert_eq!(info(&domain), None);
        domain.contacts.status = vec!["https://status.example.org".to_owned()];
        let told = info(&domain).unwrap();
        assert_eq!(told.fields, [("status-addresses", domain.contacts.status.clone())]);
    }
}
