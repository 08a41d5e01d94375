//! `tls-exporter` (RFC 9266): a secret that both ends of one TLS connection can compute.
//!
//! rustls' unbuffered API has no `export_keying_material`, so the value is derived here from what
//! rustls documents as its key log: the exporter master secret of TLS 1.3, the master secret of
//! TLS 1.2. In TLS 1.2 the value binds only with the extended master secret (RFC 7627, RFC 9266
//! §4.2): whether that was agreed on, and the server's random, is read from our own ServerHello.

use aws_lc_rs::{digest, hkdf};
use rustls::SupportedCipherSuite;
use std::cell::RefCell;

const LABEL: &[u8] = b"EXPORTER-Channel-Binding";

/// The value for channel binding (RFC 9266 §2).
pub(crate) type Exporter = [u8; 32];

thread_local! {
    /// The secret of the handshake that this thread is in; empty otherwise.
    static LOGGED: RefCell<Secret> = const { RefCell::new(Secret::NONE) };
}

/// What the key log was told, wiped when dropped or replaced.
pub(super) struct Secret {
    kind: Kind,
    client_random: [u8; 32],
    bytes: [u8; 48],
    len: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    None,
    /// Exporter master secret of TLS 1.3.
    Exporter,
    /// Master secret of TLS 1.2.
    Master,
}

impl Secret {
    const NONE: Secret = Secret { kind: Kind::None, client_random: [0; 32], bytes: [0; 48], len: 0 };

    fn new(kind: Kind, client_random: &[u8], secret: &[u8]) -> Secret {
        let mut new = Secret::NONE;
        // Of another length they are not what is expected here, and no value is derived.
        if let (Some(place), Ok(client_random)) = (new.bytes.get_mut(..secret.len()), client_random.try_into()) {
            place.copy_from_slice(secret);
            (new.kind, new.client_random, new.len) = (kind, client_random, secret.len());
        }
        new
    }

    /// The secret logged on this thread since it was last taken.
    pub(super) fn take() -> Option<Secret> {
        let secret = LOGGED.replace(Secret::NONE);
        (secret.kind != Kind::None).then_some(secret)
    }

    /// The value, where one may be used: `hello` and `suite` are the connection's.
    pub(super) fn exporter(
        &self,
        hello: Option<&ServerHello>,
        suite: Option<SupportedCipherSuite>,
    ) -> Option<Exporter> {
        let secret = self.bytes.get(..self.len)?;
        match (self.kind, hello, suite) {
            (Kind::Exporter, _, _) => tls13(secret),
            (Kind::Master, Some(hello), Some(SupportedCipherSuite::Tls12(suite))) if hello.extended_master_secret => {
                // RFC 5705 §4: both randoms, then the length of the context, which is empty.
                let seed = [&self.client_random[..], &hello.random, &[0, 0]].concat();
                let mut out = [0; 32];
                suite.prf_provider.for_secret(&mut out, secret, LABEL, &seed);
                Some(out)
            }
            (Kind::Master | Kind::None, _, _) => None,
        }
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.bytes = [0; 48];
        // The compiler may not drop the stores above as dead.
        std::hint::black_box(&mut self.bytes);
    }
}

/// Keeps the one secret per handshake that [`Secret::take`] gives, and writes nothing.
#[derive(Debug)]
pub(super) struct ExporterLog;

impl ExporterLog {
    fn kind(label: &str) -> Kind {
        match label {
            "EXPORTER_SECRET" => Kind::Exporter,
            "CLIENT_RANDOM" => Kind::Master,
            _ => Kind::None,
        }
    }
}

impl rustls::KeyLog for ExporterLog {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        let kind = ExporterLog::kind(label);
        if kind != Kind::None {
            LOGGED.set(Secret::new(kind, client_random, secret));
        }
    }
    fn will_log(&self, label: &str) -> bool {
        ExporterLog::kind(label) != Kind::None
    }
}

/// RFC 8446 §7.5 with no context, from the exporter master secret. The hash is that of the cipher
/// suite, which the secret's length tells (§7.1).
fn tls13(secret: &[u8]) -> Option<Exporter> {
    let (hash, kdf) = match secret.len() {
        32 => (&digest::SHA256, hkdf::HKDF_SHA256),
        48 => (&digest::SHA384, hkdf::HKDF_SHA384),
        _ => return None,
    };
    let empty = digest::digest(hash, &[]);
    let mut derived = [0; 48];
    let derived = derived.get_mut(..secret.len())?;
    expand_label(kdf, secret, LABEL, empty.as_ref(), derived)?;
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

/// What of a ServerHello (RFC 5246 §7.4.1.3) the exporter of TLS 1.2 needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ServerHello {
    pub(super) random: [u8; 32],
    /// RFC 7627 §5.2: said only if the client said it too.
    pub(super) extended_master_secret: bool,
}

impl ServerHello {
    /// Reads what a server sends first, if that is a ServerHello in one record.
    pub(super) fn read(wire: &[u8]) -> Option<ServerHello> {
        const HANDSHAKE: u8 = 22;
        const SERVER_HELLO: u8 = 2;
        const EXTENDED_MASTER_SECRET: u16 = 0x17;
        let mut record = Bytes(wire);
        let [HANDSHAKE, 3, _] = *record.take(3)? else { return None };
        let mut messages = record.vector(2)?;
        let [SERVER_HELLO] = *messages.take(1)? else { return None };
        let mut hello = messages.vector(3)?;
        let _version = hello.take(2)?;
        let random = hello.take(32)?.try_into().ok()?;
        let _session_id = hello.vector(1)?;
        let _suite_and_compression = hello.take(3)?;
        let mut extended_master_secret = false;
        // No extensions at all is a hello of an older kind.
        let mut extensions = hello.vector(2).unwrap_or(Bytes(&[]));
        while let Some(kind) = extensions.number(2) {
            let _ = extensions.vector(2)?;
            extended_master_secret |= kind == usize::from(EXTENDED_MASTER_SECRET);
        }
        Some(ServerHello { random, extended_master_secret })
    }
}

/// Bytes still to be read.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }
    /// A number of at most three bytes.
    fn number(&mut self, len: usize) -> Option<usize> {
        self.take(len).map(|bytes| bytes.iter().fold(0, |number, byte| (number << 8) | usize::from(*byte)))
    }
    /// What stands behind its length of so many bytes.
    fn vector(&mut self, len: usize) -> Option<Bytes<'a>> {
        let len = self.number(len)?;
        self.take(len).map(Bytes)
    }
}
