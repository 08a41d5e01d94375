//! Certificates: where they are found, what is wrong with them, which one a client gets.
//!
//! ```text
//!  [[certificate]]         one domain each                       configured paths
//!  [certificates] folder   folder/DOMAIN/fullchain.pem, privkey.pem, as ACME clients lay them out
//!  [self_signed]           made where there is none
//! ```
//! Looked for in this order: when the edge starts, at SIGHUP, and for a domain when the core announces it. A bad
//! one is said, and does not replace a good one that is in use.

mod clients;
mod self_signed;
mod validity;

use crate::config::{Certificate, Config};
use crate::limits::{CERTIFICATE_BYTES_MAX, CERTIFICATE_WARN_DAYS};
use crate::tls::EndPoint;
use hearth_wire::jid::prepare_domainpart;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) use clients::Authorities;

/// What is wrong with a certificate, its key or their place.
#[derive(Debug)]
pub enum CertificateError {
    /// A file or folder cannot be read or written.
    Io { path: PathBuf, doing: &'static str, error: std::io::Error },
    /// A file holds no PEM of the kind, or one that does not decode.
    Pem { path: PathBuf, expected: &'static str },
    /// The key's kind is not supported.
    Key { path: PathBuf, error: rustls::Error },
    /// The key is of another certificate.
    Mismatch { chain: PathBuf, key: PathBuf },
    /// No client accepts it any more.
    Expired { path: PathBuf, not_after_ms: u64 },
    /// No certificate could be made.
    Make(rcgen::Error),
}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CertificateError::Io { path, doing, error } => write!(f, "{}: cannot {doing}: {error}", path.display()),
            CertificateError::Pem { path, expected } => write!(f, "{}: expected {expected} in PEM", path.display()),
            CertificateError::Key { path, error } => write!(f, "{}: key not usable: {error}", path.display()),
            CertificateError::Mismatch { chain, key } => {
                write!(f, "{}: expected the key of the certificate in {}", key.display(), chain.display())
            }
            CertificateError::Expired { path, not_after_ms } => {
                write!(f, "{}: expired on {}", path.display(), hearth_wire::date_time::text(*not_after_ms))
            }
            CertificateError::Make(error) => write!(f, "cannot make a self-signed certificate: {error}"),
        }
    }
}

impl std::error::Error for CertificateError {}

/// All certificates of an edge, by domain. Cheap to clone with a change.
#[derive(Clone, Debug, Default)]
pub struct Certificates {
    by_domain: BTreeMap<String, Served>,
    /// For clients that name no domain, or one that is not here.
    first: Option<Served>,
    /// Who vouches for clients.
    clients: Authorities,
}

/// A certificate with its key, and its data for channel binding.
#[derive(Clone, Debug)]
struct Served {
    key: Arc<CertifiedKey>,
    end_point: Option<EndPoint>,
    not_after_ms: Option<u64>,
}

thread_local! {
    /// Of the certificate chosen last in a handshake of this thread.
    static CHOSEN: Cell<Option<EndPoint>> = const { Cell::new(None) };
}

/// RFC 5929 `tls-server-end-point` of the certificate chosen on this thread since this was last asked.
pub(crate) fn take_chosen() -> Option<EndPoint> {
    CHOSEN.take()
}

/// Where certificates come from, and what time it is.
pub(crate) struct Search<'a> {
    pub(crate) config: &'a Config,
    pub(crate) provider: &'a CryptoProvider,
    /// Milliseconds since 1970, UTC.
    pub(crate) now_ms: u64,
}

impl Search<'_> {
    /// All there are, also for `announced` domains. What is bad is told, and kept as it was `before`.
    pub(crate) fn all(
        &self,
        announced: &BTreeSet<String>,
        before: &Certificates,
    ) -> (Certificates, Vec<CertificateError>) {
        let mut found = Certificates::default();
        let mut errors = Vec::new();
        found.clients = clients::load(&self.config.client_authorities, &before.clients, &mut errors);
        let mut listed = self.config.certificates.clone();
        match self.config.certificate_folder.as_deref().map(in_folder) {
            Some(Ok(in_folder)) => listed.extend(in_folder),
            Some(Err(error)) => {
                errors.push(error);
                // All of it may be there again in a moment.
                found.by_domain.clone_from(&before.by_domain);
            }
            None => {}
        }
        if self.config.makes_certificates() {
            match self_signed::of_configured(&self.config.self_signed) {
                Ok(made) => listed.extend(made),
                Err(error) => errors.push(error),
            }
        }
        let mut seen = BTreeSet::new();
        for certificate in &listed {
            // The first that names a domain has it.
            if seen.insert(prepared(&certificate.domain)) {
                errors.extend(found.take(self, certificate, before));
            }
        }
        for domain in announced {
            errors.extend(self.one(domain, before, &mut found));
        }
        (found, errors)
    }

    /// Looks for a domain that the core announced, unless it has a certificate.
    pub(crate) fn one(
        &self,
        domain: &str,
        before: &Certificates,
        found: &mut Certificates,
    ) -> Option<CertificateError> {
        if found.find(domain).is_some() || !is_file_name(domain) {
            return None;
        }
        let folder = self.config.certificate_folder.as_deref();
        let ascii = hearth_wire::jid::domain_to_ascii(domain);
        let in_folder = folder.into_iter().flat_map(|folder| [folder.join(domain), folder.join(&ascii)]);
        if let Some(here) = in_folder.map(|folder| of_folder(domain, &folder)).find(|here| here.chain.exists()) {
            return found.take(self, &here, before);
        }
        if !self.config.makes_certificates() {
            return None;
        }
        match self_signed::of_announced(&self.config.self_signed, domain) {
            Ok(made) => found.take(self, &made, before),
            Err(error) => Some(error),
        }
    }

    fn read(&self, certificate: &Certificate) -> Result<Served, CertificateError> {
        let key = Arc::new(certified_key(&certificate.chain, &certificate.key, self.provider)?);
        let leaf = key.cert.first();
        let end_point = leaf.and_then(|certificate| EndPoint::of(certificate));
        let not_after_ms = leaf.and_then(|certificate| validity::not_after_ms(certificate));
        Ok(Served { key, end_point, not_after_ms })
    }
}

impl Certificates {
    /// What a configuration names, from nothing: whatever is wrong with a certificate it names is an error.
    pub fn load(config: &Config, provider: &CryptoProvider, now_ms: u64) -> Result<Certificates, CertificateError> {
        let search = Search { config, provider, now_ms };
        let (found, errors) = search.all(&BTreeSet::new(), &Certificates::default());
        for error in errors {
            // A server that was down when its certificate ran out must not stay down for it, and one bad entry
            // of a folder must not take the other domains along.
            let stays = matches!(error, CertificateError::Expired { .. })
                || config.certificate_folder.is_some() && !config.certificates.iter().any(|c| error.is_about(c));
            if !stays || found.by_domain.is_empty() {
                return Err(error);
            }
            tracing::error!(event = "certificate_bad", %error);
        }
        Ok(found)
    }

    /// When each ends, milliseconds since 1970, by domain; those that say it.
    pub(crate) fn ends(&self) -> impl Iterator<Item = (&str, u64)> {
        self.by_domain.iter().filter_map(|(domain, served)| Some((domain.as_str(), served.not_after_ms?)))
    }

    /// Who vouches for clients.
    pub(crate) fn clients(&self) -> &Authorities {
        &self.clients
    }

    /// Whether there is one for a domain.
    pub(crate) fn has(&self, domain: &str) -> bool {
        self.find(domain).is_some()
    }

    /// Takes one in, or what was in its place.
    fn take(
        &mut self,
        search: &Search<'_>,
        certificate: &Certificate,
        before: &Certificates,
    ) -> Option<CertificateError> {
        let domain = prepared(&certificate.domain);
        let old = before.by_domain.get(&domain);
        let (served, error) = match search.read(certificate) {
            Ok(new) => match new.not_after_ms.filter(|ms| *ms <= search.now_ms) {
                Some(not_after_ms) => {
                    let error = CertificateError::Expired { path: certificate.chain.clone(), not_after_ms };
                    let better = old.filter(|old| old.not_after_ms.is_none_or(|ms| ms > search.now_ms));
                    (Some(better.cloned().unwrap_or(new)), Some(error))
                }
                None => {
                    new.warn(&domain, search.now_ms);
                    (Some(new), None)
                }
            },
            Err(error) => (old.cloned(), Some(error)),
        };
        if let Some(served) = served {
            self.first.get_or_insert_with(|| served.clone());
            self.by_domain.insert(domain, served);
        }
        error
    }

    /// The certificate for a domain, in any case, as Unicode or as it stands in DNS.
    fn find(&self, name: &str) -> Option<&Served> {
        let exact = |name: &str| {
            let wildcard = || name.split_once('.').and_then(|(_, parent)| self.by_domain.get(&format!("*.{parent}")));
            self.by_domain.get(name).or_else(wildcard)
        };
        exact(name)
            .or_else(|| prepare_domainpart(name).ok().filter(|other| other != name).and_then(|name| exact(&name)))
    }

    /// The one that the TLS hello names, else the one of the stream's domain, else the first.
    fn choose(&self, sni: Option<&str>, stream_to: Option<&str>) -> Option<&Served> {
        let named = sni.and_then(|name| self.find(name)).or_else(|| stream_to.and_then(|name| self.find(name)));
        named.or(self.first.as_ref())
    }
}

impl Served {
    fn warn(&self, domain: &str, now_ms: u64) {
        const DAY_MS: u64 = 86_400_000;
        let left = self.not_after_ms.map(|ms| ms.saturating_sub(now_ms) / DAY_MS);
        if let Some(days) = left.filter(|days| *days < CERTIFICATE_WARN_DAYS) {
            tracing::warn!(event = "certificate_expires_soon", domain, days);
        }
    }
}

impl CertificateError {
    fn is_about(&self, certificate: &Certificate) -> bool {
        match self {
            CertificateError::Io { path, .. }
            | CertificateError::Pem { path, .. }
            | CertificateError::Key { path, .. }
            | CertificateError::Expired { path, .. } => *path == certificate.chain || *path == certificate.key,
            CertificateError::Mismatch { chain, .. } => *chain == certificate.chain,
            CertificateError::Make(_) => false,
        }
    }
}

/// Chooses for the handshakes of streams to one domain, or to none that is known yet.
#[derive(Debug)]
pub(crate) struct Chooser {
    pub(crate) certificates: Arc<Certificates>,
    pub(crate) stream_to: Option<Box<str>>,
}

impl ResolvesServerCert for Chooser {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let served = self.certificates.choose(hello.server_name(), self.stream_to.as_deref())?;
        CHOSEN.set(served.end_point);
        Some(Arc::clone(&served.key))
    }
}

/// A wildcard stays as it is.
fn prepared(domain: &str) -> String {
    prepare_domainpart(domain).unwrap_or_else(|_| domain.to_ascii_lowercase())
}

/// Whether a domain can name a file: the core's word is not taken for it.
fn is_file_name(domain: &str) -> bool {
    !domain.is_empty() && !domain.starts_with('.') && !domain.contains(['/', '\0'])
}

fn of_folder(domain: &str, folder: &Path) -> Certificate {
    Certificate { domain: domain.to_owned(), chain: folder.join("fullchain.pem"), key: folder.join("privkey.pem") }
}

/// Every entry of a folder that has a chain, in the order of their names.
fn in_folder(folder: &Path) -> Result<Vec<Certificate>, CertificateError> {
    let io = |error| CertificateError::Io { path: folder.to_owned(), doing: "read", error };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        let Some(domain) = entry.file_name().to_str().map(str::to_owned) else { continue };
        let certificate = of_folder(&domain, &entry.path());
        if certificate.chain.exists() {
            found.push(certificate);
        }
    }
    found.sort_by(|a, b| a.domain.cmp(&b.domain));
    Ok(found)
}

fn certified_key(chain: &Path, key: &Path, provider: &CryptoProvider) -> Result<CertifiedKey, CertificateError> {
    let read = |path: &Path| {
        let io = |error| CertificateError::Io { path: path.to_owned(), doing: "read", error };
        let mut bytes = Vec::new();
        std::fs::File::open(path).map_err(io)?.take(CERTIFICATE_BYTES_MAX).read_to_end(&mut bytes).map_err(io)?;
        Ok(bytes)
    };
    let bad = |path: &Path, expected| CertificateError::Pem { path: path.to_owned(), expected };
    let certificates = CertificateDer::pem_slice_iter(&read(chain)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| bad(chain, "a certificate chain"))?;
    if certificates.is_empty() {
        return Err(bad(chain, "a certificate chain"));
    }
    let private = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|_| bad(key, "a private key"))?;
    CertifiedKey::from_der(certificates, private, provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            CertificateError::Mismatch { chain: chain.to_owned(), key: key.to_owned() }
        }
        error => CertificateError::Key { path: key.to_owned(), error },
    })
}

#[cfg(test)]
mod tests;
