//! The questions of XEP-0077, read and answered without knowing any account.

use super::{NS_FEATURE, NS_REGISTER};
use crate::sasl::crypto::Secret;
use crate::sasl::prepare_password;
use hearth_wire::tree::{Builder, Element};
use hearth_wire::{BareJid, StanzaCondition};

/// What an iq of `jabber:iq:register` asks.
#[derive(Debug)]
pub enum Request {
    /// What to fill in, or what is on file (§3.1).
    Fields,
    /// An account, or a new password for one's own (§3.1, §3.3).
    Submit(Submitted),
    /// No account any more (§3.2).
    Remove,
}

/// A filled-in query; nothing in it is checked yet.
#[derive(Debug, Default)]
pub struct Submitted {
    username: Option<String>,
    password: Option<Secret>,
}

impl Request {
    /// Reads the `<query/>` of a get or a set. Fields that were not asked for are passed over.
    pub fn parse(is_set: bool, query: &Element<'_>) -> Result<Request, StanzaCondition> {
        if !is_set {
            return Ok(Request::Fields);
        }
        if query.child(NS_REGISTER, "remove").is_some() {
            // §3.2: alone, so that nobody loses an account by half a request.
            let alone = query.children().count() == 1;
            return if alone { Ok(Request::Remove) } else { Err(StanzaCondition::BadRequest) };
        }
        let mut submitted = Submitted::default();
        for field in query.children().filter(|field| field.ns() == NS_REGISTER) {
            let twice = match field.name() {
                "username" => submitted.username.replace(field.text()).is_some(),
                "password" => submitted.password.replace(Secret::new(field.text())).is_some(),
                _ => false,
            };
            if twice {
                return Err(StanzaCondition::BadRequest);
            }
        }
        Ok(Request::Submit(submitted))
    }
}

impl Submitted {
    /// The account to make, with its prepared password. Whatever is missing, empty or cannot be
    /// prepared is `not-acceptable` (§3.1).
    pub fn into_account(self, domain: &str) -> Result<(BareJid, Secret), StanzaCondition> {
        let account = self.username.and_then(|name| BareJid::new(Some(&name), domain).ok());
        let password = self.password.as_ref().and_then(prepared);
        account.zip(password).ok_or(StanzaCondition::NotAcceptable)
    }

    /// The prepared new password of `own`. The name is asked for and has to be the account's (§3.3), so
    /// that nobody changes another password than meant, and never decides whose it is.
    pub fn into_password(self, own: &BareJid) -> Result<Secret, StanzaCondition> {
        let (Some(name), Some(password)) = (self.username, self.password) else {
            return Err(StanzaCondition::BadRequest);
        };
        if !names(&name, own) {
            return Err(StanzaCondition::NotAllowed);
        }
        if password.expose().is_empty() {
            return Err(StanzaCondition::BadRequest);
        }
        prepared(&password).ok_or(StanzaCondition::NotAcceptable)
    }
}

/// Whether a user name, or a bare address in its place, is this account's.
fn names(text: &str, own: &BareJid) -> bool {
    let named = BareJid::new(Some(text), own.domainpart()).or_else(|_| BareJid::parse(text));
    named.is_ok_and(|named| named == *own)
}

fn prepared(password: &Secret) -> Option<Secret> {
    prepare_password(std::str::from_utf8(password.expose()).ok()?)
}

/// The answer to [`Request::Fields`]: what is needed, and who is registered already (§3.1).
pub fn write_fields(registered: Option<&BareJid>, out: &mut Builder) {
    let (instructions, username) = match registered {
        None => ("Choose a username and a password.", ""),
        Some(account) => ("Give your username and a new password.", account.localpart().unwrap_or_default()),
    };
    out.open(Some(NS_REGISTER), "query");
    if registered.is_some() {
        out.open(None, "registered").close();
    }
    out.leaf(None, "instructions", instructions);
    out.leaf(None, "username", username);
    out.open(None, "password").close().close();
}

/// The stream feature (§8), offered before authentication where registration is open.
pub fn write_feature(out: &mut Builder) {
    out.open(Some(NS_FEATURE), "register").close();
}

#[cfg(test)]
mod tests {
    use super::*;
    use hearth_wire::tree;

    fn query(build: impl Fn(&mut Builder)) -> Vec<u8> {
        let mut out = Builder::new();
        out.open(Some(NS_REGISTER), "query");
        build(&mut out);
        out.finish()
    }

    fn submit(fields: &[(&str, &str)]) -> Result<Submitted, StanzaCondition> {
        let bytes = query(|out| {
            fields.iter().for_each(|(name, text)| {
                out.leaf(None, name, text);
            });
        });
        match Request::parse(true, &tree::first(&bytes).unwrap())? {
            Request::Submit(submitted) => Ok(submitted),
            other @ (Request::Fields | Request::Remove) => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_account_needs_a_name_and_a_password() {
        let account = |fields: &[(&str, &str)]| submit(fields).unwrap().into_account("example.org");
        let (jid, password) = account(&[("username", "Ada"), ("email", "a@b"), ("password", "I\u{ad}X")]).unwrap();
        assert_eq!((jid.as_str(), password.expose()), ("ada@example.org", &b"IX"[..]));
        for fields in [
            &[][..],
            &[("username", "ada")],
            &[("password", "pencil")],
            &[("username", ""), ("password", "pencil")],
            &[("username", "ada"), ("password", "")],
            &[("username", "ada"), ("password", "\u{ad}")],
            &[("username", "ada"), ("password", "a\u{7}")],
            &[("username", "ada@example.org"), ("password", "pencil")],
            &[("username", "a da"), ("password", "pencil")],
            &[("username", "ada/desk"), ("password", "pencil")],
        ] {
            assert_eq!(account(fields).err(), Some(StanzaCondition::NotAcceptable), "{fields:?}");
        }
        for name in ["username", "password"] {
            let twice = submit(&[("username", "ada"), ("password", "pencil"), (name, "ada")]);
            assert_eq!(twice.err(), Some(StanzaCondition::BadRequest));
        }
    }

    #[test]
    fn a_password_is_changed_for_oneself() {
        let own = BareJid::parse("ada@example.org").unwrap();
        let change = |fields: &[(&str, &str)]| submit(fields).unwrap().into_password(&own);
        for name in ["ada", "ADA", "ada@example.org", "Ada@Example.ORG"] {
            assert_eq!(change(&[("username", name), ("password", "new")]).unwrap().expose(), b"new");
        }
        for name in
            ["grace", "grace@example.org", "ada@example.net", "ada@example.org/desk", "example.org", "", "admin"]
        {
            let refused = change(&[("username", name), ("password", "new")]);
            assert_eq!(refused.err(), Some(StanzaCondition::NotAllowed), "{name}");
        }
        for fields in [&[("password", "new")][..], &[("username", "ada")], &[("username", "ada"), ("password", "")]] {
            assert_eq!(change(fields).err(), Some(StanzaCondition::BadRequest), "{fields:?}");
        }
        let refused = change(&[("username", "ada"), ("password", "\u{ad}")]);
        assert_eq!(refused.err(), Some(StanzaCondition::NotAcceptable));
    }

    #[test]
    fn removal_stands_alone() {
        let alone = query(|out| {
            out.open(None, "remove").close();
        });
        assert!(matches!(Request::parse(true, &tree::first(&alone).unwrap()), Ok(Request::Remove)));
        assert!(matches!(Request::parse(false, &tree::first(&alone).unwrap()), Ok(Request::Fields)));
        let more = query(|out| {
            out.leaf(None, "username", "ada").open(None, "remove").close();
        });
        assert_eq!(Request::parse(true, &tree::first(&more).unwrap()).err(), Some(StanzaCondition::BadRequest));
        let foreign = query(|out| {
            out.open(Some("urn:example:other"), "remove").close();
        });
        assert!(matches!(Request::parse(true, &tree::first(&foreign).unwrap()), Ok(Request::Submit(_))));
    }

    #[test]
    fn fields_say_who_is_registered() {
        let own = BareJid::parse("ada@example.org").unwrap();
        for registered in [None, Some(&own)] {
            let mut out = Builder::new();
            write_fields(registered, &mut out);
            let bytes = out.finish();
            let query = tree::child(&bytes, NS_REGISTER, "query").unwrap();
            let text = |name| query.child(NS_REGISTER, name).map(|field| field.text());
            assert_eq!(text("registered").is_some(), registered.is_some());
            assert_eq!(text("username").as_deref(), Some(if registered.is_some() { "ada" } else { "" }));
            assert_eq!(text("password").as_deref(), Some(""));
        }
    }
}
