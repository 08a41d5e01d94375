//! The two configurations of TLS 1.3 under a link, and whose key is believed.

use crate::key::{KeyError, PrivateKey, PublicKey};
use rustls::client::AlwaysResolvesClientRawPublicKeys;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs as provider, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::AlwaysResolvesServerRawPublicKeys;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{AlertDescription, CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
pub use rustls::{ClientConfig, ServerConfig};
use std::fmt;
use std::sync::Arc;

/// ALPN of links, so that no other protocol is ever spoken with these keys.
const ALPN: &[u8] = b"hearth-link";

/// What the core holds of a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Standing {
    /// Bound to this name.
    Known(String),
    Revoked(String),
    Unknown,
}

/// The core's list of edges' keys.
pub trait Keyring: Send + Sync {
    fn standing(&self, key: &PublicKey) -> Standing;
}

/// For the core. Nobody without a known key gets past the handshake; no session is ever resumed, so a
/// revoked key opens nothing.
pub fn server_config(key: &PrivateKey, keyring: Arc<dyn Keyring>) -> Result<Arc<ServerConfig>, TlsSetupError> {
    let mut config = ServerConfig::builder_with_provider(crypto_provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsSetupError::Tls)?
        .with_client_cert_verifier(Arc::new(KnownEdge(keyring)))
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(
            key.certified().map_err(TlsSetupError::Key)?,
        )));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
}

/// For an edge. Nobody but the holder of `core_key` is believed.
pub fn client_config(key: &PrivateKey, core_key: &PublicKey) -> Result<Arc<ClientConfig>, TlsSetupError> {
    let mut config = ClientConfig::builder_with_provider(crypto_provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsSetupError::Tls)?
        .dangerous() // as rustls calls every verifier that is not its own: this one knows one key
        .with_custom_certificate_verifier(Arc::new(PinnedCore(core_key.clone())))
        .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(
            key.certified().map_err(TlsSetupError::Key)?,
        )));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    config.enable_sni = false;
    Ok(Arc::new(config))
}

/// Why TLS for links cannot be set up.
#[derive(Debug)]
pub enum TlsSetupError {
    Key(KeyError),
    Tls(Error),
}

impl fmt::Display for TlsSetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TlsSetupError::Key(error) => error.fmt(f),
            TlsSetupError::Tls(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for TlsSetupError {}

fn crypto_provider() -> Arc<CryptoProvider> {
    Arc::new(provider::default_provider())
}

/// In words for the operator, what rustls says of a link that failed.
pub(crate) fn explain(error: &Error) -> String {
    match error {
        Error::AlertReceived(AlertDescription::CertificateRevoked) => {
            "the core has revoked this edge's key: `hearthctl edge add` on the core's machine makes another".to_owned()
        }
        Error::AlertReceived(AlertDescription::AccessDenied) => {
            "the core does not know this edge's key: `hearthctl edge add` on the core's machine makes one".to_owned()
        }
        Error::InvalidCertificate(CertificateError::NotValidForName) => {
            "this is not the core the key file was made for: its key is another".to_owned()
        }
        Error::InvalidCertificate(CertificateError::Revoked) => "the edge's key is revoked".to_owned(),
        Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure) => {
            "the edge's key is not known".to_owned()
        }
        other => format!("TLS: {other}"),
    }
}

/// What both verifiers say of signatures; their traits have it in common, but no trait has it alone.
macro_rules! proof_of_raw_ed25519_key {
    () => {
        fn verify_tls12_signature(
            &self,
            _message: &[u8],
            _cert: &CertificateDer<'_>,
            _dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Err(Error::General("links are TLS 1.3".to_owned()))
        }
        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_signature(message, cert, dss)
        }
        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            vec![SignatureScheme::ED25519]
        }
        fn requires_raw_public_keys(&self) -> bool {
            true
        }
    };
}

/// Verifies edges: a known key, and the proof that the edge holds it.
struct KnownEdge(Arc<dyn Keyring>);

impl fmt::Debug for KnownEdge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KnownEdge")
    }
}

impl ClientCertVerifier for KnownEdge {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }
    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        match self.0.standing(&PublicKey::from_der(end_entity)) {
            Standing::Known(_) => Ok(ClientCertVerified::assertion()),
            Standing::Revoked(_) => Err(CertificateError::Revoked.into()),
            Standing::Unknown => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }
    proof_of_raw_ed25519_key!();
}

/// Verifies the core: the one key.
#[derive(Debug)]
struct PinnedCore(PublicKey);

impl ServerCertVerifier for PinnedCore {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if end_entity.as_ref() == self.0.der() {
            return Ok(ServerCertVerified::assertion());
        }
        Err(CertificateError::NotValidForName.into())
    }
    proof_of_raw_ed25519_key!();
}

fn verify_signature(
    message: &[u8],
    key: &CertificateDer<'_>,
    dss: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    let spki = SubjectPublicKeyInfoDer::from(key.as_ref());
    let algorithms = provider::default_provider().signature_verification_algorithms;
    verify_tls13_signature_with_raw_key(message, &spki, dss, &algorithms)
}
