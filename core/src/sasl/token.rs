//! The HT mechanisms (draft-schmaus-kitten-sasl-ht-09): a token proved in one message, from both sides.
//!
//! ```text
//!  C: name NUL HMAC(token, "Initiator" cbind-data)     Message::parse, Message::verify
//!  S: HMAC(token, "Responder" cbind-data)
//! ```

use super::crypto::{Hash, Secret, ct_eq};
use super::{Proved, Start};
use crate::fast;
use hearth_storage::{TOKEN_BYTES, Token, TokenBinding};
use hearth_wire::SaslCondition;

const HASH: Hash = Hash::Sha256;
/// A client has two tokens at most (XEP-0484 §5.1).
const SLOTS: usize = 2;

/// The client's message.
pub(super) struct Message {
    binding: TokenBinding,
    cbind_data: Secret,
    hashed: Secret,
}

impl Message {
    /// The message and the name in it.
    pub(super) fn parse<'a>(
        data: &'a [u8],
        binding: TokenBinding,
        start: &Start,
    ) -> Result<(Message, &'a str), SaslCondition> {
        let malformed = SaslCondition::MalformedRequest;
        let end = data.iter().position(|byte| *byte == 0).ok_or(malformed)?;
        let (name, hashed) = data.split_at_checked(end).ok_or(malformed)?;
        let hashed = hashed.get(1..).filter(|hashed| hashed.len() == HASH.output_len()).ok_or(malformed)?;
        let name = std::str::from_utf8(name).ok().filter(|name| !name.is_empty()).ok_or(malformed)?;
        let cbind_data = match binding {
            TokenBinding::Exporter => start.exporter.clone().ok_or(malformed)?,
            TokenBinding::EndPoint => start.end_point.clone().ok_or(malformed)?,
            TokenBinding::None => Secret::default(),
        };
        Ok((Message { binding, cbind_data, hashed: Secret::new(hashed) }, name))
    }

    /// Which of the client's tokens it proves. Whether that may still be used is the caller's to judge. Takes as long
    /// whatever tokens there are, `pretence` in the place of those that are not.
    pub(super) fn verify(&self, tokens: &[Token], pretence: &[u8; TOKEN_BYTES]) -> Result<Proved, SaslCondition> {
        let mut proved = None;
        for at in 0..SLOTS {
            let token = tokens.get(at);
            let text = fast::text(token.map_or(pretence, |token| &token.secret));
            let key = text.expose();
            let equal = ct_eq(self.sign(key, b"Initiator").as_ref(), self.hashed.expose());
            let data = self.sign(key, b"Responder").as_ref().to_vec();
            if let Some(token) = token.filter(|token| equal & (token.binding == self.binding)) {
                proved = Some(Proved { data: Some(data), token: Some(Secret::new(token.secret)) });
            }
        }
        proved.ok_or(SaslCondition::NotAuthorized)
    }

    fn sign(&self, key: &[u8], who: &[u8]) -> aws_lc_rs::hmac::Tag {
        HASH.hmac(key, &[who, self.cbind_data.expose()])
    }
}
