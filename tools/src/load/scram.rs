//! The client's side of SASL (RFC 4616 PLAIN, RFC 5802 and 7677 SCRAM) for many accounts with one password.
//!
//! The costly step, PBKDF2, is done once per (mechanism, salt, iterations). Servers that give each account a salt
//! of its own make that once per account; `--keys FILE` keeps the derived keys between runs, so that
//! a second run spends nothing on them and its latencies are the server's alone.

use super::error::LoadError;
use super::limits::SCRAM_ITERATIONS_MAX;
use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use std::collections::HashMap;
use std::fs;
use std::io::Write as _;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// How a user proves its password.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Mechanism {
    Plain,
    ScramSha1,
    ScramSha256,
    ScramSha512,
}

impl Mechanism {
    /// Its name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha1 => "SCRAM-SHA-1",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }

    fn digest(self) -> &'static digest::Algorithm {
        match self {
            Self::Plain | Self::ScramSha256 => &digest::SHA256,
            Self::ScramSha512 => &digest::SHA512,
            Self::ScramSha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
        }
    }

    fn hmac(self) -> hmac::Algorithm {
        match self {
            Self::Plain | Self::ScramSha256 => hmac::HMAC_SHA256,
            Self::ScramSha512 => hmac::HMAC_SHA512,
            Self::ScramSha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        }
    }

    fn pbkdf2(self) -> pbkdf2::Algorithm {
        match self {
            Self::Plain | Self::ScramSha256 => pbkdf2::PBKDF2_HMAC_SHA256,
            Self::ScramSha512 => pbkdf2::PBKDF2_HMAC_SHA512,
            Self::ScramSha1 => pbkdf2::PBKDF2_HMAC_SHA1,
        }
    }
}

impl FromStr for Mechanism {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        [Self::Plain, Self::ScramSha1, Self::ScramSha256, Self::ScramSha512]
            .into_iter()
            .find(|mechanism| mechanism.name().eq_ignore_ascii_case(name))
            .ok_or_else(|| format!("unknown mechanism {name}: SCRAM-SHA-1, SCRAM-SHA-256, SCRAM-SHA-512 or PLAIN"))
    }
}

/// What one account's SCRAM exchange needs of the password.
#[derive(Clone)]
struct Keys {
    client_key: Vec<u8>,
    stored_key: Vec<u8>,
    server_key: Vec<u8>,
}

/// One exchange between the client-first message and the server's proof.
#[derive(Debug, Default)]
pub(crate) struct Exchange {
    first_bare: String,
    nonce: String,
    server_signature: Vec<u8>,
}

/// The password, and every key derived from it so far.
pub(crate) struct Authenticator {
    mechanism: Mechanism,
    password: String,
    /// By (salt, iterations) as the server wrote them.
    keys: HashMap<String, Keys>,
    file: Option<PathBuf>,
    nonce_prefix: String,
    nonce_count: u64,
    /// Lines for the file, of the keys derived in this run.
    fresh: Vec<String>,
}

impl Authenticator {
    pub(crate) fn new(mechanism: Mechanism, password: &str, file: Option<&Path>) -> Result<Self, LoadError> {
        let mut random = [0; 12];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| LoadError::Protocol("no randomness".into()))?;
        let mut new = Self {
            mechanism,
            password: password.to_owned(),
            keys: HashMap::new(),
            file: file.map(Path::to_owned),
            nonce_prefix: BASE64.encode(random),
            nonce_count: 0,
            fresh: Vec::new(),
        };
        if let Some(path) = file.filter(|path| path.exists()) {
            let text = fs::read_to_string(path).map_err(LoadError::io(format!("reading {}", path.display())))?;
            let own = new.fingerprint();
            new.keys = text.lines().filter_map(|line| parse_line(line, &own)).collect();
        }
        Ok(new)
    }

    pub(crate) fn mechanism(&self) -> Mechanism {
        self.mechanism
    }

    /// How many accounts' keys had to be computed in this run, about a millisecond each, between the
    /// server's challenge and our answer.
    pub(crate) fn derived(&self) -> usize {
        self.fresh.len()
    }

    /// Writes `<auth/>` (RFC 6120 §6.4.2).
    pub(crate) fn begin(&mut self, user: u32, out: &mut Vec<u8>) -> Exchange {
        let mut exchange = Exchange::default();
        let initial = if self.mechanism == Mechanism::Plain {
            format!("\0user{user}\0{}", self.password)
        } else {
            self.nonce_count += 1;
            exchange.nonce = format!("{}{:x}", self.nonce_prefix, self.nonce_count);
            exchange.first_bare = format!("n=user{user},r={}", exchange.nonce);
            format!("n,,{}", exchange.first_bare)
        };
        let mechanism = self.mechanism.name();
        out.extend_from_slice(b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='");
        out.extend_from_slice(mechanism.as_bytes());
        out.extend_from_slice(b"'>");
        out.extend_from_slice(BASE64.encode(initial).as_bytes());
        out.extend_from_slice(b"</auth>");
        exchange
    }

    /// RFC 5802 §5: the server's first message in, the client's final one out.
    pub(crate) fn answer(
        &mut self,
        exchange: &mut Exchange,
        challenge: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), String> {
        let server_first = decode(challenge)?;
        let nonce = attribute(&server_first, 'r').ok_or("challenge without nonce")?;
        if !nonce.starts_with(&exchange.nonce) {
            return Err("the server's nonce does not begin with ours".into());
        }
        let salt = attribute(&server_first, 's').ok_or("challenge without salt")?;
        let iterations = attribute(&server_first, 'i').and_then(|i| i.parse().ok()).ok_or("no iteration count")?;
        let keys = self.keys_for(salt, iterations)?;

        let without_proof = format!("c=biws,r={nonce}");
        let message = format!("{},{server_first},{without_proof}", exchange.first_bare);
        let algorithm = self.mechanism.hmac();
        let signature = hmac::sign(&hmac::Key::new(algorithm, &keys.stored_key), message.as_bytes());
        let proof: Vec<u8> = keys.client_key.iter().zip(signature.as_ref()).map(|(a, b)| a ^ b).collect();
        exchange.server_signature =
            hmac::sign(&hmac::Key::new(algorithm, &keys.server_key), message.as_bytes()).as_ref().to_vec();

        let last = format!("{without_proof},p={}", BASE64.encode(proof));
        out.extend_from_slice(b"<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>");
        out.extend_from_slice(BASE64.encode(last).as_bytes());
        out.extend_from_slice(b"</response>");
        Ok(())
    }

    /// The server must know the password too (RFC 5802 §3).
    pub(crate) fn verify(&self, exchange: &Exchange, success: &[u8]) -> Result<(), String> {
        if self.mechanism == Mechanism::Plain {
            return Ok(());
        }
        let server_final = decode(success)?;
        let signature = attribute(&server_final, 'v').ok_or("success without the server's signature")?;
        if BASE64.decode(signature).is_ok_and(|signature| signature == exchange.server_signature) {
            Ok(())
        } else {
            Err("the server's signature is wrong".into())
        }
    }

    /// Keeps what was derived in this run for the next.
    pub(crate) fn save(&self) -> Result<(), LoadError> {
        let Some(path) = self.file.as_deref().filter(|_| !self.fresh.is_empty()) else {
            return Ok(());
        };
        let mut text = self.fresh.join("\n");
        text.push('\n');
        let file = fs::OpenOptions::new().create(true).append(true).open(path);
        file.and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(LoadError::io(format!("writing {}", path.display())))
    }

    fn keys_for(&mut self, salt: &str, iterations: u32) -> Result<Keys, String> {
        let name = format!("{salt} {iterations}");
        if let Some(keys) = self.keys.get(&name) {
            return Ok(keys.clone());
        }
        let count = NonZeroU32::new(iterations).filter(|i| i.get() <= SCRAM_ITERATIONS_MAX);
        let count = count.ok_or_else(|| format!("{iterations} iterations are out of bounds"))?;
        let salt = BASE64.decode(salt).map_err(|_| "salt is not base64")?;
        let mut salted = vec![0; self.mechanism.digest().output_len()];
        pbkdf2::derive(self.mechanism.pbkdf2(), count, &salt, self.password.as_bytes(), &mut salted);
        let salted = hmac::Key::new(self.mechanism.hmac(), &salted);
        let client_key = hmac::sign(&salted, b"Client Key").as_ref().to_vec();
        let keys = Keys {
            stored_key: digest::digest(self.mechanism.digest(), &client_key).as_ref().to_vec(),
            client_key,
            server_key: hmac::sign(&salted, b"Server Key").as_ref().to_vec(),
        };
        let parts = [&keys.client_key, &keys.stored_key, &keys.server_key].map(|key| BASE64.encode(key));
        self.fresh.push(format!("{} {name} {}", self.fingerprint(), parts.join(" ")));
        self.keys.insert(name, keys.clone());
        Ok(keys)
    }

    /// Tells keys of this mechanism and password from others in the same file.
    fn fingerprint(&self) -> String {
        let digest = digest::digest(&digest::SHA256, self.password.as_bytes());
        let short = digest.as_ref().get(..9).unwrap_or_default();
        format!("{} {}", self.mechanism.name(), BASE64.encode(short))
    }
}

fn parse_line(line: &str, own: &str) -> Option<(String, Keys)> {
    let mut words = line.strip_prefix(own)?.split_ascii_whitespace();
    let name = format!("{} {}", words.next()?, words.next()?);
    let mut key = || words.next().and_then(|word| BASE64.decode(word).ok());
    let keys = Keys { client_key: key()?, stored_key: key()?, server_key: key()? };
    Some((name, keys))
}

fn decode(text: &[u8]) -> Result<String, String> {
    let bytes = BASE64.decode(text.trim_ascii()).map_err(|_| "not base64")?;
    String::from_utf8(bytes).map_err(|_| "not UTF-8".into())
}

fn attribute(message: &str, name: char) -> Option<&str> {
    message.split(',').find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The exchange of RFC 5802 §5, with its nonce and name put in.
    #[test]
    fn scram_sha_1_as_in_the_rfc() {
        let mut auth = Authenticator::new(Mechanism::ScramSha1, "pencil", None).unwrap();
        let mut exchange = Exchange {
            first_bare: "n=user,r=fyko+d2lbbFgONRv9qkxdawL".into(),
            nonce: "fyko+d2lbbFgONRv9qkxdawL".into(),
            server_signature: Vec::new(),
        };
        let challenge = "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096";
        let mut out = Vec::new();
        auth.answer(&mut exchange, BASE64.encode(challenge).as_bytes(), &mut out).unwrap();
        let sent = String::from_utf8(out).unwrap();
        let payload = sent.split(['>', '<']).nth(2).unwrap();
        assert_eq!(
            decode(payload.as_bytes()).unwrap(),
            "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts="
        );
        let success = BASE64.encode("v=rmF9pqV8S7suAoZWja4dJRkFsKQ=");
        assert_eq!(auth.verify(&exchange, success.as_bytes()), Ok(()));
        let forged = BASE64.encode("v=rmF9pqV8S7suAoZWja4dJRkFsKE=");
        assert!(auth.verify(&exchange, forged.as_bytes()).is_err());
    }

    #[test]
    fn keys_are_kept_between_runs() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let challenge = |exchange: &Exchange| BASE64.encode(format!("r={}x,s=QSXCR+Q6sek8bf92,i=2", exchange.nonce));
        for derived in [1, 0] {
            let mut auth = Authenticator::new(Mechanism::ScramSha256, "p", Some(file.path())).unwrap();
            let mut exchange = auth.begin(1, &mut Vec::new());
            let challenge = challenge(&exchange);
            auth.answer(&mut exchange, challenge.as_bytes(), &mut Vec::new()).unwrap();
            assert_eq!(auth.derived(), derived);
            auth.save().unwrap();
        }
        let other = Authenticator::new(Mechanism::ScramSha256, "q", Some(file.path())).unwrap();
        assert!(other.keys.is_empty());
    }
}
