//! The client's side of SCRAM (RFC 5802, 7677), with channel binding, for our test client.

use aws_lc_rs::{digest, hmac, pbkdf2, rand};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use std::num::NonZeroU32;

/// A mechanism without its `-PLUS`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hash {
    Sha1,
    Sha256,
    Sha512,
}

/// What goes into the GS2 header (RFC 5802 §6).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Binding {
    /// `n`: this client has none.
    None,
    /// `y`: this client has some, but saw no `-PLUS` offered.
    NotOffered,
    /// `p=name`, with the data of the connection: the mechanism's name then ends in `-PLUS`.
    Data { name: &'static str, data: Vec<u8> },
}

impl Hash {
    fn digest(self) -> &'static digest::Algorithm {
        match self {
            Hash::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Hash::Sha256 => &digest::SHA256,
            Hash::Sha512 => &digest::SHA512,
        }
    }
    fn hmac(self) -> hmac::Algorithm {
        match self {
            Hash::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Hash::Sha256 => hmac::HMAC_SHA256,
            Hash::Sha512 => hmac::HMAC_SHA512,
        }
    }
    fn pbkdf2(self) -> pbkdf2::Algorithm {
        match self {
            Hash::Sha1 => pbkdf2::PBKDF2_HMAC_SHA1,
            Hash::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
            Hash::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
        }
    }
    /// The mechanism's name (RFC 5802 §4) for this binding.
    #[must_use]
    pub fn mechanism(self, binding: &Binding) -> &'static str {
        match (self, binding) {
            (Hash::Sha1, Binding::Data { .. }) => "SCRAM-SHA-1-PLUS",
            (Hash::Sha256, Binding::Data { .. }) => "SCRAM-SHA-256-PLUS",
            (Hash::Sha512, Binding::Data { .. }) => "SCRAM-SHA-512-PLUS",
            (Hash::Sha1, Binding::None | Binding::NotOffered) => "SCRAM-SHA-1",
            (Hash::Sha256, Binding::None | Binding::NotOffered) => "SCRAM-SHA-256",
            (Hash::Sha512, Binding::None | Binding::NotOffered) => "SCRAM-SHA-512",
        }
    }
}

/// One exchange: [`first`](Scram::first), [`last`](Scram::last), [`verify`](Scram::verify).
#[derive(Debug)]
pub struct Scram {
    hash: Hash,
    password: String,
    gs2: String,
    binding: Vec<u8>,
    nonce: String,
    first_bare: String,
    /// What the stream offered, as XEP-0474 joins it; the challenge must have been made of the same.
    offered: Option<String>,
    server_signature: Vec<u8>,
}

/// Mechanisms and, where the server announces any, types of channel binding as XEP-0474 §5.1 joins them.
#[must_use]
pub fn offered(mut mechanisms: Vec<String>, bindings: Option<Vec<String>>) -> String {
    mechanisms.sort();
    let mut joined = mechanisms.join("\x1e");
    if let Some(mut bindings) = bindings {
        bindings.sort();
        joined = format!("{joined}\x1f{}", bindings.join("\x1e"));
    }
    joined
}

impl Scram {
    /// For a user name and password of ASCII, which need no preparation.
    #[must_use]
    pub fn new(hash: Hash, user: &str, password: &str, binding: &Binding) -> Scram {
        let mut random = [0; 18];
        // Failure leaves a nonce of zeroes, which the exchange survives.
        let _ = rand::fill(&mut random);
        let nonce = BASE64.encode(random);
        let (gs2, binding) = match binding {
            Binding::None => ("n,,".to_owned(), Vec::new()),
            Binding::NotOffered => ("y,,".to_owned(), Vec::new()),
            Binding::Data { name, data } => (format!("p={name},,"), data.clone()),
        };
        let user = user.replace('=', "=3D").replace(',', "=2C");
        let first_bare = format!("n={user},r={nonce}");
        let password = password.to_owned();
        Scram { hash, password, gs2, binding, nonce, first_bare, offered: None, server_signature: Vec::new() }
    }

    /// What this client was [`offered`]: it goes on only if the server says that it offered the same.
    #[must_use]
    pub fn offered(self, offered: String) -> Scram {
        Scram { offered: Some(offered), ..self }
    }

    /// The client-first message.
    #[must_use]
    pub fn first(&self) -> Vec<u8> {
        format!("{}{}", self.gs2, self.first_bare).into_bytes()
    }

    /// The client-final message, answering the server-first message.
    pub fn last(&mut self, challenge: &[u8]) -> Result<Vec<u8>, String> {
        let challenge = std::str::from_utf8(challenge).map_err(|_| "challenge is not UTF-8".to_owned())?;
        let field = |key: &str| challenge.split(',').find_map(|field| field.strip_prefix(key));
        let (Some(nonce), Some(salt), Some(iterations)) = (field("r="), field("s="), field("i=")) else {
            return Err(format!("challenge without r, s or i: {challenge}"));
        };
        if !nonce.starts_with(&self.nonce) || nonce.len() <= self.nonce.len() {
            return Err("the server's nonce does not continue ours".to_owned());
        }
        if let Some(offered) = &self.offered {
            let expected = BASE64.encode(digest::digest(self.hash.digest(), offered.as_bytes()));
            if field("h=").is_none_or(|told| told != expected) {
                return Err(format!("what the server offered was changed on its way: {challenge}"));
            }
        }
        let salt = BASE64.decode(salt).map_err(|_| "salt is not base64".to_owned())?;
        let iterations: NonZeroU32 = iterations.parse().map_err(|_| format!("{iterations} iterations"))?;
        let mut salted = vec![0; self.hash.digest().output_len()];
        pbkdf2::derive(self.hash.pbkdf2(), iterations, &salt, self.password.as_bytes(), &mut salted);

        let sign = |key: &[u8], text: &[u8]| hmac::sign(&hmac::Key::new(self.hash.hmac(), key), text);
        let client_key = sign(&salted, b"Client Key");
        let server_key = sign(&salted, b"Server Key");
        let stored_key = digest::digest(self.hash.digest(), client_key.as_ref());
        let mut bound = self.gs2.clone().into_bytes();
        bound.extend_from_slice(&self.binding);
        let without_proof = format!("c={},r={nonce}", BASE64.encode(bound));
        let message = format!("{},{challenge},{without_proof}", self.first_bare);
        let signature = sign(stored_key.as_ref(), message.as_bytes());
        let proof: Vec<u8> = client_key.as_ref().iter().zip(signature.as_ref()).map(|(key, sign)| key ^ sign).collect();
        self.server_signature = sign(server_key.as_ref(), message.as_bytes()).as_ref().to_vec();
        Ok(format!("{without_proof},p={}", BASE64.encode(proof)).into_bytes())
    }

    /// Whether the server-final message proves that the server knows the password too.
    #[must_use]
    pub fn verify(&self, success: &[u8]) -> bool {
        success == format!("v={}", BASE64.encode(&self.server_signature)).as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The printed offer of XEP-0474 §5.3, and one that was made poorer.
    #[test]
    fn a_changed_offer_is_noticed() {
        let challenge =
            |scram: &Scram| format!("r={}x,s=QSXCR+Q6sek8bf92,i=2,h=G6k/rBLDqgOhRRaCuuatSDFkJ08=", scram.nonce);
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let all = list(&["SCRAM-SHA-1-PLUS", "SCRAM-SHA-1"]);
        let bindings = Some(list(&["tls-server-end-point", "tls-exporter"]));
        for (offered, is_whole) in [
            (offered(all.clone(), bindings.clone()), true),
            (offered(list(&["SCRAM-SHA-1"]), bindings), false),
            (offered(all.clone(), Some(list(&["tls-exporter"]))), false),
            (offered(all, None), false),
        ] {
            let mut scram = Scram::new(Hash::Sha1, "user", "pencil", &Binding::None).offered(offered);
            let challenge = challenge(&scram);
            assert_eq!(scram.last(challenge.as_bytes()).is_ok(), is_whole);
        }
    }

    /// The exchange printed in RFC 5802 §5 and RFC 7677 §3; for SHA-512 the latter, computed elsewhere.
    #[test]
    fn the_standards_examples() {
        let rows = [
            (
                Hash::Sha1,
                "fyko+d2lbbFgONRv9qkxdawL",
                "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
                "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
                "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
            ),
            (
                Hash::Sha256,
                "rOprNGfwEbeRWgbNEkqO",
                "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
                "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                 p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
                "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
            ),
            (
                Hash::Sha512,
                "rOprNGfwEbeRWgbNEkqO",
                "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
                "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                 p=gMGXRcevScNtxZ6/8lQYpGtnsNAc3mGcmNomv+xnoOMw+3R2xNJdMNnzMlTN8PPC6wdp6dybEmDYXYTxwnYPJQ==",
                "v=ZQnYEgWQMFmmsM8aQMF0nDDCy/AgCzkwk8CmMZYcMg0vSVlKDanekLtifDSeVGT4+5ZxXnJq199RVG2rR7N7Zw==",
            ),
        ];
        for (hash, nonce, challenge, last, success) in rows {
            let mut scram = Scram::new(hash, "user", "pencil", &Binding::None);
            scram.nonce = nonce.to_owned();
            scram.first_bare = format!("n=user,r={nonce}");
            assert_eq!(String::from_utf8(scram.last(challenge.as_bytes()).unwrap()).unwrap(), last);
            assert!(scram.verify(success.as_bytes()) && !scram.verify(b"v=AAAA"));
        }
        let mut scram = Scram::new(Hash::Sha1, "a,b=c", "x", &Binding::NotOffered);
        assert!(scram.first().starts_with(b"y,,n=a=2Cb=3Dc,r="));
        assert!(scram.last(b"r=somebody else's,s=QSXCR+Q6sek8bf92,i=4096").is_err());
    }
}
