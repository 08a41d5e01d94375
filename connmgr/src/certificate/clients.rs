//! Certificates of clients (XEP-0178 §2): who vouches for them, and whose they are.
//!
//! A client is asked for a certificate where somebody vouches for some, and needs none; the handshake proves that it has the
//! key. Whether the certificate is good is looked at behind the handshake, each time, also when a session is taken up again:
//! one that is not leaves the client where it would be without, with its password. Addresses are those of the subject
//! alternative name, of the form that RFC 6120 §13.7.1.4 has for them, and nothing else: no common name, no name of a host.
//! Revocation lists are not read: who must not log in any more is disabled.

use super::CertificateError;
use crate::config::ClientAuthority;
use crate::limits::CERTIFICATE_BYTES_MAX;
use crate::tls;
use hearth_wire::BareJid;
use hearth_wire::jid::prepare_domainpart;
use hearth_wire::limits::CERTIFICATE_ADDRESSES_MAX;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use x509_parser::asn1_rs::{Error, FromDer, Oid, TaggedExplicit, Utf8String, oid};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::X509Certificate;

/// RFC 6120 §13.7.1.4.
const ID_ON_XMPP_ADDR: Oid<'static> = oid!(1.3.6.1.5.5.7.8.5);

/// Those of an edge.
#[derive(Clone, Debug, Default)]
pub(crate) struct Authorities(Vec<Authority>);

#[derive(Clone, Debug)]
struct Authority {
    /// Whose addresses it vouches for.
    domain: Box<str>,
    verifier: Arc<dyn ClientCertVerifier>,
}

impl Authorities {
    /// What asks clients for certificates, where the stream's domain takes some; `None`: not known yet, and so any.
    pub(crate) fn asker(&self, stream_to: Option<&str>) -> Option<Arc<dyn ClientCertVerifier>> {
        let domain = stream_to.and_then(|to| prepare_domainpart(to).ok());
        let asks = |authority: &&Authority| domain.as_deref().is_none_or(|domain| domain == &*authority.domain);
        let authority = self.0.iter().find(asks)?;
        Some(Arc::new(Possession(Arc::clone(&authority.verifier))))
    }

    /// The bare JIDs that a client's chain is good for, now. More than [`CERTIFICATE_ADDRESSES_MAX`] are none.
    pub(crate) fn addresses(&self, chain: &[CertificateDer<'_>]) -> Vec<Box<str>> {
        let Some((own, above)) = chain.split_first().filter(|_| !self.0.is_empty()) else { return Vec::new() };
        let mut addresses = addresses_in(own).unwrap_or_default();
        let good = |authority: &Authority| authority.verifier.verify_client_cert(own, above, UnixTime::now()).is_ok();
        for authority in &self.0 {
            let theirs = |address: &BareJid| address.domainpart() == &*authority.domain;
            if addresses.iter().any(theirs) && !good(authority) {
                tracing::debug!(event = "client_certificate_refused", domain = %authority.domain);
                addresses.retain(|address| !theirs(address));
            }
        }
        let known = |address: &BareJid| self.0.iter().any(|authority| address.domainpart() == &*authority.domain);
        addresses.into_iter().filter(known).map(|address| address.as_str().into()).collect()
    }
}

/// What is configured. What is bad is told, and kept as it was.
pub(super) fn load(
    configured: &[ClientAuthority],
    before: &Authorities,
    errors: &mut Vec<CertificateError>,
) -> Authorities {
    let mut found: Vec<Authority> = Vec::new();
    for ClientAuthority { domain, roots } in configured {
        let domain = super::prepared(domain);
        // The first that names a domain has it.
        if found.iter().any(|authority| *authority.domain == *domain) {
            continue;
        }
        match verifier(roots) {
            Ok(verifier) => found.push(Authority { domain: domain.into(), verifier }),
            Err(error) => {
                errors.push(error);
                found.extend(before.0.iter().find(|authority| *authority.domain == *domain).cloned());
            }
        }
    }
    Authorities(found)
}

fn verifier(path: &Path) -> Result<Arc<dyn ClientCertVerifier>, CertificateError> {
    let io = |error| CertificateError::Io { path: path.to_owned(), doing: "read", error };
    let bad = || CertificateError::Pem { path: path.to_owned(), expected: "certificates of who signs clients'" };
    let mut bytes = Vec::new();
    std::fs::File::open(path).map_err(io)?.take(CERTIFICATE_BYTES_MAX).read_to_end(&mut bytes).map_err(io)?;
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(&bytes) {
        roots.add(root.map_err(|_| bad())?).map_err(|_| bad())?;
    }
    let provider = Arc::new(tls::crypto_provider());
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().map_err(|_| bad())
}

/// Takes any certificate, and none, but only of who has its key.
#[derive(Debug)]
struct Possession(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for Possession {
    fn offer_client_auth(&self) -> bool {
        true
    }
    fn client_auth_mandatory(&self) -> bool {
        false
    }
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // Of which domain, is not known yet: whatever the client has.
        &[]
    }
    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        // See `Authorities::addresses`.
        Ok(ClientCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// The addresses of people in a certificate that nobody has vouched for yet; `None` if it cannot be read, or has too many.
fn addresses_in(certificate: &[u8]) -> Option<Vec<BareJid>> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let names = certificate.subject_alternative_name().ok()??;
    let mut addresses: Vec<BareJid> = Vec::new();
    for name in &names.value.general_names {
        let GeneralName::OtherName(kind, value) = name else { continue };
        if *kind != ID_ON_XMPP_ADDR {
            continue;
        }
        let (_, text) = TaggedExplicit::<Utf8String<'_>, Error, 0>::from_der(value).ok()?;
        let Ok(address) = BareJid::parse(text.into_inner().as_ref()) else { continue };
        if address.is_domain() || addresses.contains(&address) {
            continue;
        }
        if addresses.len() >= CERTIFICATE_ADDRESSES_MAX {
            return None;
        }
        addresses.push(address);
    }
    Some(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair, OtherNameValue, SanType};
    use std::time::{Duration, Instant};

    fn xmpp(address: &str) -> SanType {
        SanType::OtherName((vec![1, 3, 6, 1, 5, 5, 7, 8, 5], OtherNameValue::Utf8String(address.to_owned())))
    }

    fn made(names: Vec<SanType>, common_name: &str) -> Vec<u8> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.subject_alt_names = names;
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    fn texts(certificate: &[u8]) -> Option<Vec<String>> {
        addresses_in(certificate).map(|all| all.iter().map(BareJid::to_string).collect())
    }

    #[test]
    fn threat_027_addresses_are_of_the_alternative_name_and_nothing_else() {
        let dns = |name: &str| SanType::DnsName(name.try_into().unwrap());
        let mail = |name: &str| SanType::Rfc822Name(name.try_into().unwrap());
        let other =
            |oid: &[u64]| SanType::OtherName((oid.to_vec(), OtherNameValue::Utf8String("ada@example.org".into())));
        let good = made(vec![xmpp("Ada@Example.org"), xmpp("grace@example.org"), xmpp("ada@example.org")], "x");
        assert_eq!(texts(&good).unwrap(), ["ada@example.org", "grace@example.org"]);
        let names = [
            "ada@example.org",
            "CN=ada@example.org",
            "x,CN=ada@example.org",
            "OU=\"CN=ada@example.org,\"",
            "id-on-xmppAddr=ada@example.org",
            "\0ada@example.org",
        ];
        for name in names {
            assert_eq!(texts(&made(Vec::new(), name)), None, "{name}");
            let beside = vec![dns("ada.example.org"), mail("ada@example.org"), other(&[1, 3, 6, 1, 5, 5, 7, 8, 7])];
            assert_eq!(texts(&made(beside, name)), Some(vec![]), "{name}");
        }
        for no_person in ["example.org", "ada@example.org/desk", "@example.org", "", "ada@", "a da@example.org"] {
            assert_eq!(texts(&made(vec![xmpp(no_person)], "x")), Some(vec![]), "{no_person}");
        }
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a measurement")]
    fn threat_028_names_without_end_are_read_in_no_time_and_are_nobodys() {
        let many = |count: usize| (0..count).map(|n| xmpp(&format!("user{n}@example.org"))).collect::<Vec<_>>();
        assert_eq!(texts(&made(many(CERTIFICATE_ADDRESSES_MAX), "x")).unwrap().len(), CERTIFICATE_ADDRESSES_MAX);
        assert_eq!(texts(&made(many(CERTIFICATE_ADDRESSES_MAX + 1), "x")), None);
        let hosts = (0..100_000).map(|n| SanType::DnsName(format!("h{n}.example").as_str().try_into().unwrap()));
        let huge = made(hosts.collect(), "x");
        let begun = Instant::now();
        assert_eq!(texts(&huge), Some(vec![]));
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    }

    /// Bytes of a stranger: no cut of them, and no change, does harm.
    #[test]
    fn a_broken_certificate_is_nobodys() {
        let good = made(vec![xmpp("ada@example.org")], "x");
        for at in 0..good.len() {
            let _ = texts(&good[..at]);
            let mut changed = good.clone();
            changed[at] ^= 0x55;
            if let Some(addresses) = texts(&changed) {
                assert!(addresses.len() <= 1);
            }
        }
    }
}
