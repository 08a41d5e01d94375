//! PLAIN (RFC 4616): the password itself, checked against the SCRAM keys stored of it.

use super::crypto::{Hash, Secret, ct_eq};
use super::{Keys, Proved};
use crate::derive::{Derived, Task};
use hearth_wire::SaslCondition;

/// Which of the stored keys a password is checked against.
pub(super) const HASH: Hash = Hash::Sha256;

/// `[authzid] NUL authcid NUL passwd` (§2), its password prepared.
pub(super) struct Message {
    password: Secret,
}

/// Waits for the keys of the password.
pub(super) struct Deriving {
    keys: Keys,
}

impl Message {
    /// The message, its authcid and authzid.
    pub(super) fn parse(text: &str) -> Result<(Message, &str, Option<&str>), SaslCondition> {
        let mut parts = text.split('\0');
        let (Some(authzid), Some(authcid), Some(password), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(SaslCondition::MalformedRequest);
        };
        if authcid.is_empty() || password.is_empty() {
            return Err(SaslCondition::MalformedRequest);
        }
        // §2: a password that cannot be prepared, or is empty then, verifies nothing.
        let password = super::prepare_password(password).ok_or(SaslCondition::NotAuthorized)?;
        Ok((Message { password }, authcid, Some(authzid)))
    }

    pub(super) fn derive(self, keys: Keys) -> (Task, Deriving) {
        let (salt, iterations) = (keys.salt.clone(), keys.iterations);
        (Task::Verify { hash: HASH, password: self.password, salt, iterations }, Deriving { keys })
    }
}

impl Deriving {
    pub(super) fn verify(&self, derived: &Derived) -> Result<Proved, SaslCondition> {
        let Derived::Keys(keys) = derived else { return Err(SaslCondition::TemporaryAuthFailure) };
        let equal = ct_eq(&keys.stored_key, self.keys.stored_key.expose());
        if equal & self.keys.known { Ok(Proved::default()) } else { Err(SaslCondition::NotAuthorized) }
    }
}
