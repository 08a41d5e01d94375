//! TLS behind one small trait: bytes of the socket in, bytes of the client out, and back.
//!
//! rustls' unbuffered connection is used because it keeps no buffer of its own: an idle connection costs
//! about 3.4 KB instead of 7.7 KB, and the bytes under way lie in buffers that all connections of a loop
//! share. What else an exchange needs of the handshake, the data for channel binding, rustls hands over to
//! the configuration's hooks during [`Tls::receive`], on this thread: the chosen certificate to its
//! resolver (`end_point.rs`), the secret to its key log (`exporter.rs`), where it is wiped before
//! `receive` returns.

mod end_point;
mod exporter;
#[cfg(test)]
mod tests;

pub use self::end_point::EndPoint;

use self::exporter::{Exporter, ExporterLog, Secret, ServerHello};
use crate::certificate::{self, Certificates, Chooser};
use crate::limits::{TLS_DATA_PER_EMPTY_RECORD, TLS_EMPTY_RECORDS_MAX, TLS_INPUT_BYTES_MAX};
use rustls::crypto::{CryptoProvider, aws_lc_rs as provider};
use rustls::pki_types::CertificateDer;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{ProtocolVersion, ServerConfig};
use std::fmt;
use std::sync::Arc;

/// ALPN of XMPP client streams (XEP-0368 §4).
pub(crate) const ALPN: &[u8] = b"xmpp-client";

/// Largest overhead of one record: header, nonce, tag, content type.
const RECORD_OVERHEAD: usize = 64;
/// Plaintext of a full record (RFC 8446 §5.1).
const RECORD_BYTES: usize = 16 * 1024;

/// Why a TLS connection ended.
#[derive(Debug)]
pub(crate) enum TlsError {
    /// rustls refused what the client sent, or could not go on.
    Protocol(rustls::Error),
    /// A limit of ours was reached.
    Flood,
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TlsError::Protocol(error) => error.fmt(f),
            TlsError::Flood => f.write_str("too many TLS records without data"),
        }
    }
}

/// What a finished handshake has agreed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Protection {
    pub version: Version,
    /// RFC 9266 `tls-exporter`; in TLS 1.2 only with the extended master secret.
    pub exporter: Option<[u8; 32]>,
    /// RFC 5929 `tls-server-end-point`.
    pub end_point: Option<EndPoint>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Version {
    Tls12,
    Tls13,
}

/// What [`Tls::receive`] did.
#[derive(Debug, Default)]
pub(crate) struct Received {
    /// Bytes of the input that are done with.
    pub(crate) used: usize,
    /// Set once, when the handshake has finished.
    pub(crate) finished: Option<Protection>,
    /// The client closed its side.
    pub(crate) closed: bool,
}

/// One client's TLS connection.
pub(crate) trait Tls: Send {
    /// Takes bytes of the socket; appends the client's bytes to `plain` and what is to be sent to `wire`.
    /// Even with an error, `wire` may have got an alert that is worth sending.
    fn receive(&mut self, input: &mut [u8], plain: &mut Vec<u8>, wire: &mut Vec<u8>) -> Result<Received, TlsError>;
    /// Encrypts all of `plain` to the end of `wire`. Only after the handshake.
    fn send(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> Result<(), TlsError>;
    /// Appends the notice that nothing follows.
    fn close(&mut self, wire: &mut Vec<u8>);
}

/// The configuration that all connections of an edge share.
///
/// `stream_to`: the domain that a stream named before TLS, for clients that name none in it.
pub(crate) fn server_config(
    certificates: &Arc<Certificates>,
    stream_to: Option<&str>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let builder = ServerConfig::builder_with_provider(Arc::new(crypto_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?;
    let builder = match certificates.clients().asker(stream_to) {
        Some(asker) => builder.with_client_cert_verifier(asker),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(Chooser {
        certificates: Arc::clone(certificates),
        stream_to: stream_to.map(Into::into),
    }));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.key_log = Arc::new(ExporterLog);
    // A ticket is of this configuration and one server name, hence of one certificate: `tls-server-end-point`
    // of a session taken up again is what it was. Stateless tickets, one per handshake: it is 10 % of a login, and a session cache would be shared state.
    config.ticketer = provider::Ticketer::new()?;
    config.send_tls13_tickets = 1;
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
}

/// aws-lc-rs with the groups chosen: X25519 and P-256 are what clients have. Post-quantum key exchange is
/// left out until clients ask: it costs 20 µs and 2.3 KB per login.
pub(crate) fn crypto_provider() -> CryptoProvider {
    CryptoProvider {
        kx_groups: vec![provider::kx_group::X25519, provider::kx_group::SECP256R1],
        ..provider::default_provider()
    }
}

/// [`Tls`] by rustls' unbuffered API.
pub(crate) struct Rustls {
    connection: UnbufferedServerConnection,
    /// Until it has finished.
    handshake: Option<Box<Handshake>>,
    /// Records without data since the handshake, less what data made up for, each [`TLS_DATA_PER_EMPTY_RECORD`].
    empty_records: u32,
    /// After an error rustls must not be asked again.
    failed: bool,
}

/// Gathered on the way to [`Protection`].
#[derive(Default)]
struct Handshake {
    hello: Option<ServerHello>,
    exporter: Option<Exporter>,
    end_point: Option<EndPoint>,
}

impl Rustls {
    pub(crate) fn new(config: &Arc<ServerConfig>) -> Result<Rustls, TlsError> {
        let connection = UnbufferedServerConnection::new(Arc::clone(config)).map_err(TlsError::Protocol)?;
        Ok(Rustls { connection, handshake: Some(Box::default()), empty_records: 0, failed: false })
    }

    /// The chain that the client has shown in this handshake, or in the one that it takes up; nobody has vouched for it yet.
    pub(crate) fn peer_certificates(&self) -> &[CertificateDer<'static>] {
        self.connection.peer_certificates().unwrap_or_default()
    }

    /// Takes what rustls told its hooks while it made `sent`; gives what the handshake has agreed on, once.
    fn go_on(&mut self, sent: &[u8]) -> Option<Protection> {
        // Taken first: nothing may be left for the next connection of this thread.
        let (secret, chosen) = (Secret::take(), certificate::take_chosen());
        let handshake = self.handshake.as_deref_mut()?;
        handshake.end_point = chosen.or(handshake.end_point);
        handshake.hello = handshake.hello.or_else(|| ServerHello::read(sent));
        if let Some(secret) = secret {
            let suite = self.connection.negotiated_cipher_suite();
            handshake.exporter = secret.exporter(handshake.hello.as_ref(), suite);
        }
        if self.connection.is_handshaking() {
            return None;
        }
        let Handshake { exporter, end_point, .. } = *self.handshake.take()?;
        let version = match self.connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => Version::Tls13,
            _ => Version::Tls12,
        };
        Some(Protection { version, exporter, end_point })
    }

    /// Whether the handshake took up an earlier session.
    #[cfg(test)]
    fn resumed(&self) -> bool {
        self.connection.handshake_kind() == Some(rustls::HandshakeKind::Resumed)
    }
}

/// True if the input begins with a whole record, so that asking rustls is worthwhile.
pub(crate) fn whole_record(input: &[u8]) -> bool {
    match input {
        [_, _, _, high, low, rest @ ..] => rest.len() >= usize::from(u16::from_be_bytes([*high, *low])),
        _ => false,
    }
}

/// Whole records at the start of the input.
fn whole_records(mut input: &[u8]) -> usize {
    let mut records = 0usize;
    while let [_, _, _, high, low, rest @ ..] = input {
        let Some(behind) = rest.get(usize::from(u16::from_be_bytes([*high, *low]))..) else { break };
        (records, input) = (records.saturating_add(1), behind);
    }
    records
}

impl Tls for Rustls {
    fn receive(&mut self, input: &mut [u8], plain: &mut Vec<u8>, wire: &mut Vec<u8>) -> Result<Received, TlsError> {
        if self.failed {
            return Err(TlsError::Flood);
        }
        let sent = wire.len();
        let done = self.take_records(input, plain, wire);
        let finished = self.go_on(wire.get(sent..).unwrap_or_default());
        if done.is_err() {
            self.alert(wire);
            self.failed = true;
        }
        Ok(Received { finished, ..done? })
    }

    fn send(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> Result<(), TlsError> {
        if self.failed {
            return Err(TlsError::Flood);
        }
        // A key update of the client may want an answer first.
        for _ in 0..4 {
            match self.connection.process_tls_records(&mut []).state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    return append(wire, sealed_len(plain.len()), |room| match traffic.encrypt(plain, room) {
                        Ok(written) => Ok(Ok(written)),
                        Err(EncryptError::InsufficientSize(size)) => Ok(Err(size.required_size)),
                        Err(EncryptError::EncryptExhausted) => Err(TlsError::Flood),
                    });
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    append(wire, 0, |room| match data.encode(room) {
                        Ok(written) => Ok(Ok(written)),
                        Err(EncodeError::InsufficientSize(size)) => Ok(Err(size.required_size)),
                        Err(EncodeError::AlreadyEncoded) => Ok(Ok(0)),
                    })?;
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(_) => return Err(TlsError::Protocol(rustls::Error::HandshakeNotComplete)),
                Err(error) => return Err(TlsError::Protocol(error)),
            }
        }
        Err(TlsError::Flood)
    }

    fn close(&mut self, wire: &mut Vec<u8>) {
        if self.failed {
            return;
        }
        if let Ok(ConnectionState::WriteTraffic(mut traffic)) = self.connection.process_tls_records(&mut []).state {
            let _ = append(wire, RECORD_OVERHEAD, |room| match traffic.queue_close_notify(room) {
                Ok(written) => Ok(Ok(written)),
                Err(EncryptError::InsufficientSize(size)) => Ok(Err(size.required_size)),
                Err(EncryptError::EncryptExhausted) => Err(TlsError::Flood),
            });
        }
    }
}

impl Rustls {
    /// Lets rustls see all records of `input`.
    fn take_records(
        &mut self,
        input: &mut [u8],
        plain: &mut Vec<u8>,
        wire: &mut Vec<u8>,
    ) -> Result<Received, TlsError> {
        let mut received = Received::default();
        let (records, was_plain, mut with_data) = (whole_records(input), plain.len(), 0usize);
        loop {
            let rest = input.get_mut(received.used..).unwrap_or_default();
            let UnbufferedStatus { discard, state } = self.connection.process_tls_records(rest);
            received.used = received.used.saturating_add(discard);
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(TlsError::Protocol)?;
                        received.used = received.used.saturating_add(record.discard);
                        plain.extend_from_slice(record.payload);
                        with_data = with_data.saturating_add(usize::from(!record.payload.is_empty()));
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    append(wire, 0, |room| match data.encode(room) {
                        Ok(written) => Ok(Ok(written)),
                        Err(EncodeError::InsufficientSize(size)) => Ok(Err(size.required_size)),
                        Err(EncodeError::AlreadyEncoded) => Ok(Ok(0)),
                    })?;
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => {
                    // RFC 8446 §6.1: what lies behind the notice is ignored.
                    received.closed = true;
                    received.used = input.len();
                    break;
                }
                Ok(ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_)) => break,
                // Early data is off; what else a later rustls may report is not of this protocol.
                Ok(_) => return Err(TlsError::Flood),
                Err(error) => return Err(TlsError::Protocol(error)),
            }
        }
        if self.handshake.is_none() {
            self.count_records(records.saturating_sub(with_data), with_data, plain.len().saturating_sub(was_plain))?;
        }
        if input.len().saturating_sub(received.used) > TLS_INPUT_BYTES_MAX {
            return Err(TlsError::Flood);
        }
        Ok(received)
    }

    /// Counts records without data, records with it, and its bytes.
    fn count_records(&mut self, empty: usize, with_data: usize, bytes: usize) -> Result<(), TlsError> {
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let made_up = number(with_data).saturating_add(number(bytes / 1024));
        let empty = number(empty).saturating_mul(TLS_DATA_PER_EMPTY_RECORD);
        self.empty_records = self.empty_records.saturating_add(empty).saturating_sub(made_up);
        let most = TLS_EMPTY_RECORDS_MAX.saturating_mul(TLS_DATA_PER_EMPTY_RECORD);
        if self.empty_records > most { Err(TlsError::Flood) } else { Ok(()) }
    }

    /// After an error: what rustls wants to say about it.
    fn alert(&mut self, wire: &mut Vec<u8>) {
        for _ in 0..4 {
            match self.connection.process_tls_records(&mut []).state {
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    let _ = append(wire, 0, |room| match data.encode(room) {
                        Ok(written) => Ok(Ok(written)),
                        Err(EncodeError::InsufficientSize(size)) => Ok(Err(size.required_size)),
                        Err(EncodeError::AlreadyEncoded) => Ok(Ok(0)),
                    });
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                _ => return,
            }
        }
    }
}

fn sealed_len(plain: usize) -> usize {
    let records = plain.div_ceil(RECORD_BYTES).max(1);
    plain.saturating_add(records.saturating_mul(RECORD_OVERHEAD))
}

/// Lets `write` fill room at the end of `wire`: it says how much it wrote, or how much room it needs.
fn append(
    wire: &mut Vec<u8>,
    guess: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<Result<usize, usize>, TlsError>,
) -> Result<(), TlsError> {
    let start = wire.len();
    let mut room = guess;
    for _ in 0..3 {
        wire.resize(start.saturating_add(room), 0);
        match write(wire.get_mut(start..).unwrap_or_default()) {
            Ok(Ok(written)) => {
                wire.truncate(start.saturating_add(written));
                return Ok(());
            }
            Ok(Err(needed)) => room = needed,
            Err(error) => {
                wire.truncate(start);
                return Err(error);
            }
        }
    }
    wire.truncate(start);
    Err(TlsError::Flood)
}
