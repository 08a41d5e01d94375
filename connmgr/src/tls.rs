//! TLS behind one small trait: bytes of the socket in, bytes of the client out, and back.
//!
//! rustls' unbuffered connection is used because it keeps no buffer of its own: an idle connection costs
//! about 3.4 KB instead of 7.7 KB, and the bytes under way lie in buffers that all connections of a loop
//! share. That API has no `export_keying_material`, so the exporter for channel binding (RFC 9266) comes by
//! rustls' documented key log: the server's configuration has a [`rustls::KeyLog`] that asks for the
//! `EXPORTER_SECRET` alone; rustls hands it over during [`Tls::receive`], on this thread; from it the 32
//! bytes are derived by RFC 8446 §7.5, and it is wiped before `receive` returns.

#[cfg(test)]
mod tests;

use crate::certificate::Certificates;
use crate::limits::{TLS_EMPTY_RECORDS_MAX, TLS_INPUT_BYTES_MAX};
use aws_lc_rs::{digest, hkdf};
use rustls::crypto::{CryptoProvider, aws_lc_rs as provider};
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{ProtocolVersion, ServerConfig};
use std::cell::RefCell;
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
pub enum Protection {
    Tls12,
    /// With the `tls-exporter` value (RFC 9266).
    Tls13 {
        exporter: Option<[u8; 32]>,
    },
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
pub(crate) fn server_config(certificates: Certificates) -> Result<Arc<ServerConfig>, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(crypto_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(certificates));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.key_log = Arc::new(ExporterLog);
    // Stateless tickets, one per handshake: it is 10 % of a login, and a session cache would be shared state.
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

thread_local! {
    /// The exporter secret of the handshake that this thread is in; empty outside [`Tls::receive`].
    static EXPORTER_SECRET: RefCell<Secret> = const { RefCell::new(Secret { bytes: [0; 64], len: 0 }) };
}

/// A secret as long as a hash, wiped when taken or replaced.
struct Secret {
    bytes: [u8; 64],
    len: usize,
}

impl Secret {
    fn set(&mut self, secret: &[u8]) {
        self.wipe();
        if let Some(place) = self.bytes.get_mut(..secret.len()) {
            place.copy_from_slice(secret);
            self.len = secret.len();
        }
    }
    fn wipe(&mut self) {
        self.bytes = [0; 64];
        self.len = 0;
        // The compiler may not drop the stores above as dead.
        std::hint::black_box(&mut self.bytes);
    }
}

#[derive(Debug)]
struct ExporterLog;

impl rustls::KeyLog for ExporterLog {
    fn log(&self, label: &str, _client_random: &[u8], secret: &[u8]) {
        if label == "EXPORTER_SECRET" {
            EXPORTER_SECRET.with_borrow_mut(|cell| cell.set(secret));
        }
    }
    fn will_log(&self, label: &str) -> bool {
        label == "EXPORTER_SECRET"
    }
}

/// RFC 9266 §2: `EXPORTER-Channel-Binding`, no context, 32 bytes, from the exporter master secret.
/// The hash is that of the cipher suite, which the secret's length tells (RFC 8446 §7.1).
fn tls_exporter(secret: &[u8]) -> Option<[u8; 32]> {
    let (hash, kdf) = match secret.len() {
        32 => (&digest::SHA256, hkdf::HKDF_SHA256),
        48 => (&digest::SHA384, hkdf::HKDF_SHA384),
        _ => return None,
    };
    let empty = digest::digest(hash, &[]);
    let mut derived = [0; 48];
    let derived = derived.get_mut(..secret.len())?;
    expand_label(kdf, secret, b"EXPORTER-Channel-Binding", empty.as_ref(), derived)?;
    let mut out = [0; 32];
    let done = expand_label(kdf, derived, b"exporter", empty.as_ref(), &mut out);
    derived.fill(0);
    std::hint::black_box(derived);
    done.map(|()| out)
}

/// HKDF-Expand-Label (RFC 8446 §7.1).
fn expand_label(kdf: hkdf::Algorithm, secret: &[u8], label: &[u8], context: &[u8], out: &mut [u8]) -> Option<()> {
    struct Len(usize);
    impl hkdf::KeyType for Len {
        fn len(&self) -> usize {
            self.0
        }
    }
    const PREFIX: &[u8] = b"tls13 ";
    let length = u16::try_from(out.len()).ok()?.to_be_bytes();
    let label_len = [u8::try_from(PREFIX.len().checked_add(label.len())?).ok()?];
    let context_len = [u8::try_from(context.len()).ok()?];
    let info: [&[u8]; 6] = [&length, &label_len, PREFIX, label, &context_len, context];
    hkdf::Prk::new_less_safe(kdf, secret).expand(&info, Len(out.len())).ok()?.fill(out).ok()
}

/// [`Tls`] by rustls' unbuffered API.
pub(crate) struct Rustls {
    connection: UnbufferedServerConnection,
    exporter: Option<[u8; 32]>,
    finished: bool,
    /// Records in a row without data since the handshake.
    empty_records: u16,
    /// After an error rustls must not be asked again.
    failed: bool,
}

impl Rustls {
    pub(crate) fn new(config: &Arc<ServerConfig>) -> Result<Rustls, TlsError> {
        let connection = UnbufferedServerConnection::new(Arc::clone(config)).map_err(TlsError::Protocol)?;
        Ok(Rustls { connection, exporter: None, finished: false, empty_records: 0, failed: false })
    }

    fn protection(&mut self) -> Protection {
        match self.connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => Protection::Tls13 { exporter: self.exporter.take() },
            // Without the extended master secret TLS 1.2 exporters bind nothing (RFC 9266 §4): none is given.
            _ => Protection::Tls12,
        }
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

impl Tls for Rustls {
    fn receive(&mut self, input: &mut [u8], plain: &mut Vec<u8>, wire: &mut Vec<u8>) -> Result<Received, TlsError> {
        if self.failed {
            return Err(TlsError::Flood);
        }
        let done = self.take_records(input, plain, wire);
        EXPORTER_SECRET.with_borrow_mut(|secret| {
            if secret.len > 0 {
                self.exporter = secret.bytes.get(..secret.len).and_then(tls_exporter);
                secret.wipe();
            }
        });
        if done.is_err() {
            self.alert(wire);
            self.failed = true;
        }
        let mut received = done?;
        if !self.finished && !self.connection.is_handshaking() {
            self.finished = true;
            received.finished = Some(self.protection());
        }
        Ok(received)
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
        loop {
            let rest = input.get_mut(received.used..).unwrap_or_default();
            let UnbufferedStatus { discard, state } = self.connection.process_tls_records(rest);
            received.used = received.used.saturating_add(discard);
            let was_plain = plain.len();
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(TlsError::Protocol)?;
                        received.used = received.used.saturating_add(record.discard);
                        plain.extend_from_slice(record.payload);
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
            if self.finished {
                self.empty_records = if plain.len() > was_plain { 0 } else { self.empty_records.saturating_add(1) };
                if self.empty_records > TLS_EMPTY_RECORDS_MAX {
                    return Err(TlsError::Flood);
                }
            }
        }
        if input.len().saturating_sub(received.used) > TLS_INPUT_BYTES_MAX {
            return Err(TlsError::Flood);
        }
        Ok(received)
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
