//! Login by XEP-0388, with what may come along: a token asked for or proved (XEP-0484), a session to go on with
//! (XEP-0198 §9.2).

use super::{BASE64, Client, ClientError, decoded, unexpected};
use crate::scram::{Binding, Hash, Scram};
use crate::xml::{Element, STREAM, escape};
use aws_lc_rs::hmac;
use base64::Engine as _;

/// Namespace of XEP-0388.
pub const NS: &str = "urn:xmpp:sasl:2";
/// Namespace of XEP-0484.
pub const NS_FAST: &str = "urn:xmpp:fast:0";
/// Namespace of XEP-0198.
pub const NS_SM: &str = "urn:xmpp:sm:3";

/// What a client got for the next time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Token {
    pub token: String,
    /// XEP-0082 DateTime.
    pub expiry: String,
}

impl Token {
    /// Of a `<success/>`, if there is one.
    #[must_use]
    pub fn of(success: &Element) -> Option<Token> {
        let token = success.child(NS_FAST, "token")?;
        Some(Token { token: token.attr("token")?.to_owned(), expiry: token.attr("expiry")?.to_owned() })
    }
}

impl Client {
    /// Authenticates by SCRAM and XEP-0388; `along` is XML that comes along. Checks the server's proof, reads the
    /// features behind `<success/>`, and returns that.
    pub fn authenticate_inline(
        &mut self,
        hash: Hash,
        (user, password): (&str, &str),
        binding: &Binding,
        along: &str,
    ) -> Result<Element, ClientError> {
        let mut scram = Scram::new(hash, user, password, binding).offered(self.offered(NS, "authentication"));
        self.begin_inline(hash.mechanism(binding), &scram.first(), along)?;
        let challenge = self.sasl(NS, "challenge")?;
        let last = scram.last(&challenge).map_err(|got| ClientError::Unexpected { wanted: "a challenge", got })?;
        self.send(&format!("<response xmlns='{NS}'>{}</response>", BASE64.encode(last)))?;
        let success = self.sasl_element(NS, "success")?;
        self.succeeded(success, |data| scram.verify(data))
    }

    /// Authenticates by a token (draft-schmaus-kitten-sasl-ht-09); `along` has the `<fast/>`.
    pub fn authenticate_by_token(
        &mut self,
        mechanism: &str,
        (user, token): (&str, &str),
        binding: &Binding,
        along: &str,
    ) -> Result<Element, ClientError> {
        let data = match binding {
            Binding::None | Binding::NotOffered => &[],
            Binding::Data { data, .. } => data.as_slice(),
        };
        let sign = |who: &[u8]| {
            let key = hmac::Key::new(hmac::HMAC_SHA256, token.as_bytes());
            hmac::sign(&key, &[who, data].concat()).as_ref().to_vec()
        };
        let initial = [user.as_bytes(), &[0], &sign(b"Initiator")].concat();
        self.begin_inline(mechanism, &initial, along)?;
        let success = self.sasl_element(NS, "success")?;
        self.succeeded(success, |proof| *proof == *sign(b"Responder"))
    }

    /// Sends `<authenticate/>`.
    pub fn begin_inline(&mut self, mechanism: &str, initial: &[u8], along: &str) -> Result<(), ClientError> {
        let (mechanism, initial) = (escape(mechanism), BASE64.encode(initial));
        self.send(&format!(
            "<authenticate xmlns='{NS}' mechanism='{mechanism}'><initial-response>{initial}</initial-response>{along}\
             </authenticate>"
        ))
    }

    fn succeeded(&mut self, success: Element, proves: impl Fn(&[u8]) -> bool) -> Result<Element, ClientError> {
        let data = success.child(NS, "additional-data").map(decoded).transpose()?;
        if !data.is_some_and(|data| proves(&data)) {
            return unexpected("the server's proof", &success.to_string());
        }
        if success.child(NS_SM, "resumed").is_some() {
            // XEP-0198 §9.2: no features, the session goes on.
            self.features = None;
            self.jid = success.child(NS, "authorization-identifier").map(Element::text);
            return Ok(success);
        }
        let features = self.receive_element()?;
        if !features.is(STREAM, "features") {
            return unexpected("stream features", &features);
        }
        self.features = Some(features);
        Ok(success)
    }
}
