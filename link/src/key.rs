//! Keys of links: made here, kept in PEM, told apart by fingerprint.

use aws_lc_rs::digest;
use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};
use rustls::sign::{CertifiedKey, SigningKey};
use std::fmt;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why a key cannot be had.
#[derive(Debug)]
pub enum KeyError {
    /// A file cannot be read or written.
    Io { path: PathBuf, doing: &'static str, cause: std::io::Error },
    /// Not a key of the kind that links use.
    Malformed { what: &'static str },
    /// No key could be made.
    Generate,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyError::Io { path, doing, cause } => write!(f, "{}: cannot {doing}: {cause}", path.display()),
            KeyError::Malformed { what } => write!(f, "expected {what}"),
            KeyError::Generate => f.write_str("cannot make a key"),
        }
    }
}

impl std::error::Error for KeyError {}

/// One end's own key: Ed25519 (RFC 8032), PKCS #8.
pub struct PrivateKey(PrivatePkcs8KeyDer<'static>);

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(..)")
    }
}

impl Clone for PrivateKey {
    fn clone(&self) -> PrivateKey {
        PrivateKey(self.0.clone_key())
    }
}

impl PartialEq for PrivateKey {
    fn eq(&self, other: &PrivateKey) -> bool {
        self.0.secret_pkcs8_der() == other.0.secret_pkcs8_der()
    }
}

impl Eq for PrivateKey {}

impl PrivateKey {
    /// A new key.
    pub fn generate() -> Result<PrivateKey, KeyError> {
        let pair = Ed25519KeyPair::generate().map_err(|_| KeyError::Generate)?;
        let document = pair.to_pkcs8().map_err(|_| KeyError::Generate)?;
        Ok(PrivateKey(PrivatePkcs8KeyDer::from(document.as_ref().to_vec())))
    }

    /// From PEM (`PRIVATE KEY`).
    pub fn from_pem(text: &str) -> Result<PrivateKey, KeyError> {
        let malformed = KeyError::Malformed { what: "an Ed25519 private key in PEM" };
        match PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes()) {
            Ok(der) => {
                let key = PrivateKey(der.clone_key());
                key.signing().map(|_| key)
            }
            Err(_) => Err(malformed),
        }
    }

    /// As PEM.
    pub fn to_pem(&self) -> String {
        let mut text = "-----BEGIN PRIVATE KEY-----\n".to_owned();
        text.push_str(&STANDARD.encode(self.0.secret_pkcs8_der()));
        text.push_str("\n-----END PRIVATE KEY-----\n");
        text
    }

    /// Reads the key of a file, or makes one and writes it there for its owner alone.
    pub fn load_or_make(path: &Path) -> Result<PrivateKey, KeyError> {
        let io = |doing| move |cause| KeyError::Io { path: path.to_owned(), doing, cause };
        match std::fs::read_to_string(path) {
            Ok(text) => PrivateKey::from_pem(&text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let key = PrivateKey::generate()?;
                write_secret(path, &key.to_pem()).map_err(io("write"))?;
                Ok(key)
            }
            Err(cause) => Err(io("read")(cause)),
        }
    }

    /// The public half.
    pub fn public(&self) -> Result<PublicKey, KeyError> {
        self.signing()?
            .public_key()
            .map(|spki| PublicKey(spki.as_ref().into()))
            .ok_or(KeyError::Malformed { what: "a key with a public half" })
    }

    /// For rustls: the key behind its own raw public key (RFC 7250).
    pub(crate) fn certified(&self) -> Result<Arc<CertifiedKey>, KeyError> {
        let signing = self.signing()?;
        let spki = self.public()?.0.to_vec();
        Ok(Arc::new(CertifiedKey::new(vec![spki.into()], signing)))
    }

    fn signing(&self) -> Result<Arc<dyn SigningKey>, KeyError> {
        rustls::crypto::aws_lc_rs::sign::any_eddsa_type(&self.0)
            .map_err(|_| KeyError::Malformed { what: "an Ed25519 private key" })
    }
}

/// The other end's key: SubjectPublicKeyInfo (RFC 5280 §4.1.2.7), DER.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey(Box<[u8]>);

impl PublicKey {
    /// Of bytes as [`PublicKey::der`] gives them.
    pub fn from_der(der: &[u8]) -> PublicKey {
        PublicKey(der.into())
    }

    /// From PEM (`PUBLIC KEY`).
    pub fn from_pem(text: &str) -> Result<PublicKey, KeyError> {
        SubjectPublicKeyInfoDer::from_pem_slice(text.as_bytes())
            .map(|der| PublicKey(der.as_ref().into()))
            .map_err(|_| KeyError::Malformed { what: "a public key in PEM" })
    }

    /// As PEM.
    pub fn to_pem(&self) -> String {
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(&self.0))
    }

    pub fn der(&self) -> &[u8] {
        &self.0
    }

    /// SHA-256 in the form of SSH: short enough to compare by eye.
    pub fn fingerprint(&self) -> String {
        let digest = digest::digest(&digest::SHA256, &self.0);
        format!("SHA256:{}", STANDARD.encode(digest).trim_end_matches('='))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.fingerprint())
    }
}

/// Writes a new file that only its owner may read; refuses to write over one that is there.
pub fn write_secret(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all())
}

/// The private key as rustls has it.
impl From<&PrivateKey> for PrivateKeyDer<'static> {
    fn from(key: &PrivateKey) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(key.0.clone_key())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_is_made_once_and_kept_for_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("link.key");
        let made = PrivateKey::load_or_make(&path).unwrap();
        assert_eq!(PrivateKey::load_or_make(&path).unwrap(), made);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let public = made.public().unwrap();
        assert_eq!(PublicKey::from_pem(&public.to_pem()).unwrap(), public);
        assert!(public.fingerprint().starts_with("SHA256:") && public.fingerprint().len() == 50);
        assert_ne!(PrivateKey::generate().unwrap().public().unwrap(), public);
        assert_eq!(format!("{made:?}"), "PrivateKey(..)");
    }

    #[test]
    fn what_is_no_key_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("link.key");
        std::fs::write(&path, "hello").unwrap();
        assert!(PrivateKey::load_or_make(&path).unwrap_err().to_string().contains("Ed25519 private key"));
        assert!(write_secret(&path, "x").is_err());
        let elsewhere = PrivateKey::load_or_make(&folder.path().join("no/such/link.key")).unwrap_err();
        assert!(elsewhere.to_string().contains("link.key: cannot write"), "{elsewhere}");
    }
}
