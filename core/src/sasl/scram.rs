//! SCRAM (RFC 5802, RFC 7677), the server's side.
//!
//! ```text
//!  C: gs2-header  n=name,r=cnonce                    First::parse
//!  S: r=cnonce snonce,s=salt,i=iterations,h=hash     First::challenge; `h`: XEP-0474
//!  C: c=base64(gs2-header cbind-data),r=…,p=proof    Proof::verify
//!  S: v=signature
//! ```

use super::crypto::{Hash, Secret, ct_eq};
use super::{BASE64, Keys, Proved, Start, TLS_EXPORTER, TLS_SERVER_END_POINT};
use crate::limits::SCRAM_CLIENT_NONCE_BYTES_MAX;
use base64::Engine as _;
use hearth_wire::SaslCondition;

/// The client's first message.
pub(super) struct First {
    pub(super) hash: Hash,
    /// `gs2-header [cbind-data]` (§7): what `c=` must repeat.
    cbind_input: Secret,
    client_nonce: String,
    /// `client-first-message-bare`.
    bare: String,
    /// What the challenge says beyond RFC 5802.
    pub(super) extensions: String,
}

/// Waits for the client's proof.
pub(super) struct Proof {
    hash: Hash,
    cbind_input: Secret,
    nonce: String,
    /// `client-first-message-bare "," server-first-message ","`.
    messages: String,
    keys: Keys,
}

impl First {
    /// The message with its username and authzid decoded (§7, `client-first-message`).
    pub(super) fn parse(
        text: &str,
        hash: Hash,
        plus: bool,
        start: &Start,
    ) -> Result<(First, String, Option<String>), SaslCondition> {
        let malformed = SaslCondition::MalformedRequest;
        let (flag, rest) = text.split_once(',').ok_or(malformed)?;
        let (authzid, bare) = rest.split_once(',').ok_or(malformed)?;
        let authzid = match authzid {
            "" => None,
            text => Some(saslname(text.strip_prefix("a=").ok_or(malformed)?)?),
        };
        let cbind_data = check_flag(flag, plus, start)?;

        // A mandatory extension, `m=`, comes before the username: none is known here (§5.1).
        let mut fields = bare.split(',');
        let name = fields.next().and_then(|field| field.strip_prefix("n=")).ok_or(malformed)?;
        let client_nonce = fields.next().and_then(|field| field.strip_prefix("r=")).ok_or(malformed)?;
        if client_nonce.len() > SCRAM_CLIENT_NONCE_BYTES_MAX {
            return Err(malformed);
        }
        if client_nonce.is_empty() || !client_nonce.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(malformed);
        }
        extensions(fields)?;

        let header = text.len().saturating_sub(bare.len());
        let mut cbind_input = text.get(..header).unwrap_or_default().as_bytes().to_vec();
        if let Some(data) = cbind_data {
            cbind_input.extend_from_slice(data.expose());
        }
        let first = First {
            hash,
            cbind_input: Secret::new(cbind_input),
            client_nonce: client_nonce.to_owned(),
            bare: bare.to_owned(),
            extensions: format!(",h={}", offered_hash(&start.offer.listed(), hash)),
        };
        Ok((first, saslname(name)?, authzid))
    }

    /// `server-first-message`, and what the answer is verified with.
    pub(super) fn challenge(self, keys: Keys, server_nonce: &str) -> (Vec<u8>, Proof) {
        let nonce = self.client_nonce + server_nonce;
        let (salt, iterations, extensions) = (BASE64.encode(&keys.salt), keys.iterations, self.extensions);
        let challenge = format!("r={nonce},s={salt},i={iterations}{extensions}");
        let messages = format!("{},{challenge},", self.bare);
        (challenge.into_bytes(), Proof { hash: self.hash, cbind_input: self.cbind_input, nonce, messages, keys })
    }
}

impl Proof {
    /// `client-final-message` against all that is known; gives `server-final-message`.
    pub(super) fn verify(self, data: &[u8]) -> Result<Proved, SaslCondition> {
        let malformed = SaslCondition::MalformedRequest;
        let text = super::message(data)?;
        // The proof is last, and no value before it has a comma.
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or(malformed)?;
        let mut fields = without_proof.split(',');
        let cbind = fields.next().and_then(|field| field.strip_prefix("c=")).ok_or(malformed)?;
        let nonce = fields.next().and_then(|field| field.strip_prefix("r=")).ok_or(malformed)?;
        extensions(fields)?;
        let cbind = BASE64.decode(cbind).map_err(|_| malformed)?;
        let mut client_key = BASE64.decode(proof).map_err(|_| malformed)?;
        if client_key.len() != self.hash.output_len() {
            return Err(malformed);
        }

        // §3: ClientKey := ClientProof XOR HMAC(StoredKey, AuthMessage)
        let auth_message = [self.messages.as_bytes(), without_proof.as_bytes()];
        let signature = self.hash.hmac(self.keys.stored_key.expose(), &auth_message);
        client_key.iter_mut().zip(signature.as_ref()).for_each(|(byte, mask)| *byte ^= mask);
        let client_key = Secret::new(client_key);

        let proved = ct_eq(self.hash.digest(client_key.expose()).as_ref(), self.keys.stored_key.expose());
        let same_channel = ct_eq(&cbind, self.cbind_input.expose());
        let same_nonce = ct_eq(nonce.as_bytes(), self.nonce.as_bytes());
        let server = self.hash.hmac(self.keys.server_key.expose(), &auth_message);
        if proved & same_channel & same_nonce & self.keys.known {
            let data = format!("v={}", BASE64.encode(server.as_ref())).into_bytes();
            Ok(Proved { data: Some(data), token: None })
        } else {
            Err(SaslCondition::NotAuthorized)
        }
    }
}

/// XEP-0474 §5.1: a hash of what was offered, which the proof covers: who took a mechanism or a type of channel
/// binding out of the list on its way is found out by the client, or, having changed this too, by us.
pub(super) fn offered_hash(listed: &str, hash: Hash) -> String {
    BASE64.encode(hash.digest(listed.as_bytes()))
}

/// What of the channel the exchange is bound to, by the flag of the gs2 header (§6). The failure of
/// a downgrade has no condition of its own.
fn check_flag<'s>(flag: &str, plus: bool, start: &'s Start) -> Result<Option<&'s Secret>, SaslCondition> {
    match (flag, plus) {
        ("n", false) => Ok(None),
        // The client could bind and believes that the server cannot: someone removed -PLUS.
        ("y", false) if start.offer.plus() => Err(SaslCondition::NotAuthorized),
        ("y", false) => Ok(None),
        ("n" | "y", true) => Err(SaslCondition::MalformedRequest),
        (flag, plus) => {
            let name = flag.strip_prefix("p=").filter(|name| plus && is_cb_name(name));
            let data = match name.ok_or(SaslCondition::MalformedRequest)? {
                TLS_EXPORTER => start.exporter.as_ref(),
                TLS_SERVER_END_POINT => start.end_point.as_ref(),
                _ => None,
            };
            // A type that this stream was not offered.
            data.map(Some).ok_or(SaslCondition::NotAuthorized)
        }
    }
}

/// §7, `cb-name`.
fn is_cb_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-')
}

/// §7, `saslname`: `=2C` and `=3D` stand for comma and equals sign, and `=` for nothing else.
fn saslname(text: &str) -> Result<String, SaslCondition> {
    let mut parts = text.split('=');
    let mut name = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        if let Some(rest) = part.strip_prefix("2C") {
            name.push(',');
            name.push_str(rest);
        } else if let Some(rest) = part.strip_prefix("3D") {
            name.push('=');
            name.push_str(rest);
        } else {
            return Err(SaslCondition::MalformedRequest);
        }
    }
    if name.is_empty() || name.contains('\0') { Err(SaslCondition::MalformedRequest) } else { Ok(name) }
}

/// §7, `extensions`: unknown ones are passed over, one that names an attribute of the mechanism is
/// out of place.
fn extensions<'a>(mut fields: impl Iterator<Item = &'a str>) -> Result<(), SaslCondition> {
    let well_formed = fields.all(|field| match field.as_bytes() {
        [name, b'=', value @ ..] => {
            name.is_ascii_alphabetic() && !b"nrmacsipve".contains(name) && !value.is_empty() && !value.contains(&0)
        }
        _ => false,
    });
    if well_formed { Ok(()) } else { Err(SaslCondition::MalformedRequest) }
}
