//! Certificates: loading PEM, making a self-signed one at first start, choosing by SNI.

use crate::config::{Certificate, SelfSigned};
use crate::tls::EndPoint;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::cell::Cell;
use std::fmt;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What is wrong with a certificate, its key or their place.
#[derive(Debug)]
pub enum CertificateError {
    /// A file or folder cannot be read or written.
    Io { path: PathBuf, doing: &'static str, error: std::io::Error },
    /// A file holds no PEM of the kind, or one that does not decode.
    Pem { path: PathBuf, expected: &'static str },
    /// The key does not fit the certificate, or its kind is not supported.
    Key { path: PathBuf, error: rustls::Error },
    /// No certificate could be made.
    Make(rcgen::Error),
}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CertificateError::Io { path, doing, error } => write!(f, "{}: cannot {doing}: {error}", path.display()),
            CertificateError::Pem { path, expected } => write!(f, "{}: expected {expected} in PEM", path.display()),
            CertificateError::Key { path, error } => write!(f, "{}: key not usable: {error}", path.display()),
            CertificateError::Make(error) => write!(f, "cannot make a self-signed certificate: {error}"),
        }
    }
}

impl std::error::Error for CertificateError {}

/// All certificates of an edge, by domain.
#[derive(Debug)]
pub struct Certificates {
    by_domain: Vec<(String, Served)>,
}

/// A certificate with its key, and its data for channel binding.
#[derive(Clone, Debug)]
struct Served {
    key: Arc<CertifiedKey>,
    end_point: Option<EndPoint>,
}

thread_local! {
    /// Of the certificate chosen last in a handshake of this thread.
    static CHOSEN: Cell<Option<EndPoint>> = const { Cell::new(None) };
}

/// RFC 5929 `tls-server-end-point` of the certificate chosen on this thread since this was last asked.
pub(crate) fn take_chosen() -> Option<EndPoint> {
    CHOSEN.take()
}

impl Certificates {
    /// Loads what is configured; if nothing is, loads the self-signed certificate, and makes it first
    /// if it is not there.
    pub fn load(
        configured: &[Certificate],
        self_signed: &SelfSigned,
        provider: &CryptoProvider,
    ) -> Result<Certificates, CertificateError> {
        let made;
        let list = if configured.is_empty() {
            made = self_signed_list(self_signed)?;
            &made
        } else {
            configured
        };
        let by_domain = list
            .iter()
            .map(|c| {
                let domain = hearth_wire::jid::prepare_domainpart(&c.domain).unwrap_or_else(|_| c.domain.clone());
                let key = Arc::new(certified_key(&c.chain, &c.key, provider)?);
                let end_point = key.cert.first().and_then(|certificate| EndPoint::of(certificate));
                Ok((domain, Served { key, end_point }))
            })
            .collect::<Result<Vec<_>, CertificateError>>()?;
        Ok(Certificates { by_domain })
    }

    /// The certificate for the domain a client names, else the first.
    fn choose(&self, name: Option<&str>) -> Option<&Served> {
        let named = name.and_then(|name| {
            self.by_domain.iter().find(|(domain, _)| {
                domain.eq_ignore_ascii_case(name)
                    || domain.strip_prefix("*.").is_some_and(|parent| {
                        name.split_once('.').is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(parent))
                    })
            })
        });
        named.or_else(|| self.by_domain.first()).map(|(_, served)| served)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let served = self.choose(hello.server_name())?;
        CHOSEN.set(served.end_point);
        Some(Arc::clone(&served.key))
    }
}

fn certified_key(chain: &Path, key: &Path, provider: &CryptoProvider) -> Result<CertifiedKey, CertificateError> {
    let read = |path: &Path| {
        std::fs::read(path).map_err(|error| CertificateError::Io { path: path.to_owned(), doing: "read", error })
    };
    let bad = |path: &Path, expected| CertificateError::Pem { path: path.to_owned(), expected };
    let certificates = CertificateDer::pem_slice_iter(&read(chain)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| bad(chain, "a certificate chain"))?;
    if certificates.is_empty() {
        return Err(bad(chain, "a certificate chain"));
    }
    let private = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|_| bad(key, "a private key"))?;
    CertifiedKey::from_der(certificates, private, provider)
        .map_err(|error| CertificateError::Key { path: key.to_owned(), error })
}

/// The self-signed certificate's place, after making it if it is not there.
fn self_signed_list(options: &SelfSigned) -> Result<Vec<Certificate>, CertificateError> {
    let (chain, key) = (options.folder.join("self-signed.pem"), options.folder.join("self-signed.key"));
    if !chain.exists() || !key.exists() {
        make(options, &chain, &key)?;
        tracing::info!(event = "certificate_made", chain = %chain.display(), domains = ?options.domains);
    }
    Ok(options
        .domains
        .iter()
        .map(|domain| Certificate { domain: domain.clone(), chain: chain.clone(), key: key.clone() })
        .collect())
}

fn make(options: &SelfSigned, chain: &Path, key: &Path) -> Result<(), CertificateError> {
    let io = |path: &Path, doing| {
        let path = path.to_owned();
        move |error| CertificateError::Io { path, doing, error }
    };
    std::fs::create_dir_all(&options.folder).map_err(io(&options.folder, "make the folder"))?;
    let made = rcgen::generate_simple_self_signed(options.domains.clone()).map_err(CertificateError::Make)?;
    let write = |path: &Path, mode, text: &str| {
        std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(path)
            .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
            .map_err(io(path, "write"))
    };
    // The certificate last: if it is there, so is its key.
    write(key, 0o600, &made.signing_key.serialize_pem())?;
    write(chain, 0o644, &made.cert.pem())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provider() -> CryptoProvider {
        rustls::crypto::aws_lc_rs::default_provider()
    }

    #[test]
    fn made_once_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let options = SelfSigned {
            folder: folder.path().join("deep/tls"),
            domains: vec!["localhost".into(), "Ö.example".into()],
        };
        let first = Certificates::load(&[], &options, &provider());
        // An internationalised name must be given to the certificate in its ASCII form.
        assert!(first.is_err());
        let options = SelfSigned { domains: vec!["localhost".into(), "b.example".into()], ..options };
        let first = Certificates::load(&[], &options, &provider()).unwrap();
        let again = Certificates::load(&[], &options, &provider()).unwrap();
        assert_eq!(first.by_domain[0].1.key.cert, again.by_domain[0].1.key.cert);
        let mode = std::fs::metadata(options.folder.join("self-signed.key")).unwrap().permissions();
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o600);
    }

    #[test]
    fn the_name_chooses() {
        let folder = tempfile::tempdir().unwrap();
        let make_for = |name: &str, file: &str| {
            let options = SelfSigned { folder: folder.path().join(file), domains: vec![name.into()] };
            let made = self_signed_list(&options).unwrap().remove(0);
            Certificate { domain: name.into(), ..made }
        };
        let list = [make_for("a.example", "a"), make_for("*.b.example", "b")];
        let all = Certificates::load(&list, &SelfSigned::default(), &provider()).unwrap();
        let chosen = |name| all.choose(name).unwrap().key.cert.clone();
        let (a, b) = (all.by_domain[0].1.key.cert.clone(), all.by_domain[1].1.key.cert.clone());
        assert_ne!(a, b);
        for (name, want) in [
            (Some("a.example"), &a),
            (Some("A.Example"), &a),
            (Some("x.b.example"), &b),
            (Some("b.example"), &a),
            (None, &a),
        ] {
            assert_eq!(&chosen(name), want, "{name:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let (chain, key) = (folder.path().join("c.pem"), folder.path().join("k.pem"));
        let list = [Certificate { domain: "a.example".into(), chain: chain.clone(), key }];
        let load = || Certificates::load(&list, &SelfSigned::default(), &provider()).unwrap_err().to_string();
        assert!(load().contains("c.pem: cannot read"), "{}", load());
        std::fs::write(&chain, "hello").unwrap();
        assert!(load().contains("c.pem: expected a certificate chain"), "{}", load());
    }
}
