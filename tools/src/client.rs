//! A small blocking XMPP client for tests: one stream, every step by hand or all of a login at once,
//! every wait with a deadline.
//!
//! ```no_run
//! # use hearth_tools::client::{Client, Server, Tls};
//! # fn main() -> Result<(), hearth_tools::client::ClientError> {
//! let server = Server::new("127.0.0.1:5222".parse().unwrap(), "localhost", Tls::Starttls("cert.pem".into()));
//! let mut ada = Client::login(&server, "ada", "secret", Some("desk"))?;
//! ada.send("<presence/>")?;
//! println!("{}", ada.receive_element()?);
//! ada.close()?;
//! # Ok(()) }
//! ```

pub mod inline;

use crate::scram::{self, Binding, Hash, Scram};
use crate::xml::{CLIENT, Element, Item, Reader, STREAM, XmlError};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use socket2::{Domain, Socket, Type};
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long each wait lasts unless [`Client::deadline`] says otherwise. Generous: it only ends tests
/// that fail.
pub const DEADLINE: Duration = Duration::from_secs(20);

const NS_TLS: &str = "urn:ietf:params:xml:ns:xmpp-tls";
const NS_SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
const NS_CHANNEL_BINDING: &str = "urn:xmpp:sasl-cb:0";
const NS_BIND: &str = "urn:ietf:params:xml:ns:xmpp-bind";

/// Where to connect, and how.
#[derive(Clone, Debug)]
pub struct Server {
    pub address: SocketAddr,
    pub domain: String,
    pub tls: Tls,
    /// What the client shows of itself in TLS.
    pub identity: Option<Identity>,
    /// The address to connect from; none: the system's choice.
    pub source: Option<IpAddr>,
    /// Whether the server must say in SCRAM what it has offered (XEP-0474); those of others may not know that.
    pub tells_offer: bool,
}

/// PEM files of a client's certificate, with what stands above it, and of its key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    pub chain: PathBuf,
    pub key: PathBuf,
}

/// The PEM file names the certificate that is trusted, and no other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Tls {
    /// None: for servers that allow it on loopback.
    Clear,
    /// RFC 6120 §5.
    Starttls(PathBuf),
    /// XEP-0368.
    Direct(PathBuf),
}

impl Server {
    #[must_use]
    pub fn new(address: SocketAddr, domain: &str, tls: Tls) -> Server {
        Server { address, domain: domain.to_owned(), tls, identity: None, source: None, tells_offer: true }
    }
}

/// Why a step did not work.
#[derive(Debug)]
pub enum ClientError {
    Io {
        doing: &'static str,
        error: io::Error,
    },
    /// Nothing came in time.
    Deadline,
    /// The server closed the connection without closing the stream.
    Closed,
    /// The server wrote what is not XMPP.
    Xml(XmlError),
    Tls(String),
    /// SASL failure, with its condition (RFC 6120 §6.5).
    Refused(String),
    Unexpected {
        wanted: &'static str,
        got: String,
    },
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientError::Io { doing, error } => write!(f, "{doing}: {error}"),
            ClientError::Deadline => f.write_str("nothing came before the deadline"),
            ClientError::Closed => f.write_str("connection closed"),
            ClientError::Xml(error) => write!(f, "the server wrote bad XML: {error}"),
            ClientError::Tls(why) => write!(f, "TLS: {why}"),
            ClientError::Refused(condition) => write!(f, "login refused: {condition}"),
            ClientError::Unexpected { wanted, got } => write!(f, "wanted {wanted}, got {got}"),
        }
    }
}

impl std::error::Error for ClientError {}

fn unexpected<T>(wanted: &'static str, got: &impl fmt::Debug) -> Result<T, ClientError> {
    Err(ClientError::Unexpected { wanted, got: format!("{got:?}") })
}

fn decoded(element: &Element) -> Result<Vec<u8>, ClientError> {
    BASE64.decode(element.text()).map_err(|_| ClientError::Unexpected { wanted: "base64", got: element.to_string() })
}

type TlsStream = rustls::StreamOwned<rustls::ClientConnection, TcpStream>;

enum Transport {
    Clear(TcpStream),
    Tls(Box<TlsStream>),
    /// While one turns into the other.
    Gone,
}

/// One client stream.
pub struct Client {
    server: Server,
    transport: Transport,
    reader: Reader,
    features: Option<Element>,
    jid: Option<String>,
    /// How long each wait lasts from its start.
    pub deadline: Duration,
}

impl Client {
    /// Connects; with direct TLS the handshake is done, no stream is opened.
    pub fn connect(server: &Server) -> Result<Client, ClientError> {
        let socket = connect(server.address, server.source)
            .and_then(|socket| socket.set_nodelay(true).map(|()| socket))
            .map_err(|error| ClientError::Io { doing: "connecting", error })?;
        let mut client = Client {
            server: server.clone(),
            transport: Transport::Clear(socket),
            reader: Reader::default(),
            features: None,
            jid: None,
            deadline: DEADLINE,
        };
        if let Tls::Direct(_) = server.tls {
            client.handshake()?;
        }
        Ok(client)
    }

    /// Connects, secures the stream as the server is reached, authenticates by SCRAM-SHA-256, binds.
    pub fn login(server: &Server, user: &str, password: &str, resource: Option<&str>) -> Result<Client, ClientError> {
        let mut client = Client::connect(server)?;
        client.open()?;
        if let Tls::Starttls(_) = server.tls {
            client.starttls()?;
        }
        client.authenticate(Hash::Sha256, user, password, &Binding::None)?;
        client.bind(resource)?;
        Ok(client)
    }

    /// The stream's features, once it is open.
    #[must_use]
    pub fn features(&self) -> Option<&Element> {
        self.features.as_ref()
    }

    /// The full JID, once bound.
    #[must_use]
    pub fn jid(&self) -> &str {
        self.jid.as_deref().unwrap_or_default()
    }

    /// Sends a stream header and waits for the server's header and features.
    pub fn open(&mut self) -> Result<Element, ClientError> {
        self.reader = Reader::default();
        let header = format!(
            "<?xml version='1.0'?><stream:stream xmlns='{CLIENT}' xmlns:stream='{STREAM}' version='1.0' to='{}'>",
            self.server.domain
        );
        self.send(&header)?;
        let opened = match self.receive()? {
            Item::Open(opened) => opened,
            other @ (Item::Element(_) | Item::Close) => return unexpected("a stream header", &other),
        };
        let features = self.receive_element()?;
        if !features.is(STREAM, "features") {
            return unexpected("stream features", &features);
        }
        self.features = Some(features);
        Ok(opened)
    }

    /// Negotiates STARTTLS (RFC 6120 §5) and opens the stream anew.
    pub fn starttls(&mut self) -> Result<(), ClientError> {
        self.send(&format!("<starttls xmlns='{NS_TLS}'/>"))?;
        let answer = self.receive_element()?;
        if !answer.is(NS_TLS, "proceed") || !self.reader.pending().is_empty() {
            return unexpected("<proceed/> and nothing behind it", &answer);
        }
        self.handshake()?;
        self.open().map(|_| ())
    }

    /// The TLS handshake, on whatever socket there is.
    pub fn handshake(&mut self) -> Result<(), ClientError> {
        let (Tls::Starttls(path) | Tls::Direct(path)) = &self.server.tls else {
            return unexpected("a server with TLS", &self.server);
        };
        let config = tls_config(path, matches!(self.server.tls, Tls::Direct(_)), self.server.identity.as_ref())?;
        let name = ServerName::try_from(self.server.domain.clone()).map_err(|e| ClientError::Tls(e.to_string()))?;
        let connection = rustls::ClientConnection::new(config, name).map_err(|e| ClientError::Tls(e.to_string()))?;
        let Transport::Clear(socket) = std::mem::replace(&mut self.transport, Transport::Gone) else {
            return unexpected("a connection in the clear", &"TLS");
        };
        set_timeout(&socket, self.deadline)?;
        let mut stream = rustls::StreamOwned::new(connection, socket);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).map_err(|e| ClientError::Tls(e.to_string()))?;
        }
        self.transport = Transport::Tls(Box::new(stream));
        Ok(())
    }

    /// RFC 9266 `tls-exporter` of this connection.
    pub fn tls_exporter(&self) -> Result<Binding, ClientError> {
        let Transport::Tls(stream) = &self.transport else { return unexpected("TLS", &"none") };
        let data = stream
            .conn
            .export_keying_material([0u8; 32], b"EXPORTER-Channel-Binding", Some(&[]))
            .map_err(|e| ClientError::Tls(e.to_string()))?;
        Ok(Binding::Data { name: "tls-exporter", data: data.to_vec() })
    }

    /// RFC 5929 `tls-server-end-point` of this connection, for a certificate signed with SHA-256 or less, as
    /// the self-signed ones are.
    pub fn tls_server_end_point(&self) -> Result<Binding, ClientError> {
        let Transport::Tls(stream) = &self.transport else { return unexpected("TLS", &"none") };
        let Some(certificate) = stream.conn.peer_certificates().and_then(<[_]>::first) else {
            return unexpected("a certificate", &"none");
        };
        let data = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate).as_ref().to_vec();
        Ok(Binding::Data { name: "tls-server-end-point", data })
    }

    /// Authenticates by SCRAM, checks the server's proof, and opens the stream anew.
    pub fn authenticate(
        &mut self,
        hash: Hash,
        user: &str,
        password: &str,
        binding: &Binding,
    ) -> Result<(), ClientError> {
        let mut scram = Scram::new(hash, user, password, binding);
        if self.server.tells_offer {
            scram = scram.offered(self.offered(NS_SASL, "mechanisms"));
        }
        let mechanism = hash.mechanism(binding);
        let first = BASE64.encode(scram.first());
        self.send(&format!("<auth xmlns='{NS_SASL}' mechanism='{mechanism}'>{first}</auth>"))?;
        let challenge = self.sasl(NS_SASL, "challenge")?;
        let last = scram.last(&challenge).map_err(|got| ClientError::Unexpected { wanted: "a challenge", got })?;
        self.send(&format!("<response xmlns='{NS_SASL}'>{}</response>", BASE64.encode(last)))?;
        let success = self.sasl(NS_SASL, "success")?;
        if !scram.verify(&success) {
            return unexpected("the server's proof", &success);
        }
        self.open().map(|_| ())
    }

    /// Authenticates by the certificate that TLS has shown (XEP-0178), and opens the stream anew.
    pub fn authenticate_external(&mut self, authzid: &str) -> Result<(), ClientError> {
        let initial = if authzid.is_empty() { "=".to_owned() } else { BASE64.encode(authzid) };
        self.send(&format!("<auth xmlns='{NS_SASL}' mechanism='EXTERNAL'>{initial}</auth>"))?;
        self.sasl_element(NS_SASL, "success")?;
        self.open().map(|_| ())
    }

    /// What this stream offers by one SASL profile (XEP-0474).
    fn offered(&self, ns: &str, name: &str) -> String {
        let features = self.features.as_ref();
        let mechanisms = features.and_then(|features| features.child(ns, name)).into_iter().flat_map(Element::children);
        let mechanisms = mechanisms.filter(|child| child.is(ns, "mechanism")).map(Element::text).collect();
        let bindings = features.and_then(|features| features.child(NS_CHANNEL_BINDING, "sasl-channel-binding"));
        let types = |bindings: &Element| {
            bindings.children().filter_map(|binding| binding.attr("type")).map(str::to_owned).collect()
        };
        scram::offered(mechanisms, bindings.map(types))
    }

    /// The data of the next SASL element, which must have this name.
    fn sasl(&mut self, ns: &str, name: &'static str) -> Result<Vec<u8>, ClientError> {
        decoded(&self.sasl_element(ns, name)?)
    }

    /// The next SASL element, which must have this name.
    fn sasl_element(&mut self, ns: &str, name: &'static str) -> Result<Element, ClientError> {
        let element = self.receive_element()?;
        if element.is(ns, "failure") {
            let condition = element.children().next().map_or("failure", |condition| &condition.name);
            return Err(ClientError::Refused(condition.to_owned()));
        }
        if !element.is(ns, name) {
            return unexpected(name, &element);
        }
        Ok(element)
    }

    /// Resource binding (RFC 6120 §7); returns the full JID.
    pub fn bind(&mut self, resource: Option<&str>) -> Result<String, ClientError> {
        let resource = resource.map_or(String::new(), |r| format!("<resource>{}</resource>", crate::xml::escape(r)));
        self.send(&format!("<iq type='set' id='bind'><bind xmlns='{NS_BIND}'>{resource}</bind></iq>"))?;
        let answer = self.receive_element()?;
        let jid = answer.child(NS_BIND, "bind").and_then(|bind| bind.child(NS_BIND, "jid")).map(Element::text);
        match jid {
            Some(jid) if answer.attr("type") == Some("result") && answer.attr("id") == Some("bind") => {
                self.jid = Some(jid.clone());
                Ok(jid)
            }
            _ => unexpected("a bound resource", &answer.to_string()),
        }
    }

    /// The socket, for its options, or to end the connection from another thread.
    #[must_use]
    pub fn socket(&self) -> Option<&TcpStream> {
        match &self.transport {
            Transport::Clear(socket) => Some(socket),
            Transport::Tls(stream) => Some(&stream.sock),
            Transport::Gone => None,
        }
    }

    /// Sends text as it is.
    pub fn send(&mut self, text: &str) -> Result<(), ClientError> {
        self.send_bytes(text.as_bytes())
    }

    /// Sends bytes as they are.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        let done = match &mut self.transport {
            Transport::Clear(socket) => socket.write_all(bytes),
            Transport::Tls(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
            Transport::Gone => return Err(ClientError::Closed),
        };
        done.map_err(|error| ClientError::Io { doing: "sending", error })
    }

    /// The next item of the stream.
    pub fn receive(&mut self) -> Result<Item, ClientError> {
        let end = Instant::now() + self.deadline;
        loop {
            if let Some(item) = self.reader.next_item().map_err(ClientError::Xml)? {
                return Ok(item);
            }
            self.fill(end)?;
        }
    }

    /// The next item, which must be an element.
    pub fn receive_element(&mut self) -> Result<Element, ClientError> {
        match self.receive()? {
            Item::Element(element) => Ok(element),
            other @ (Item::Open(_) | Item::Close) => unexpected("an element", &other),
        }
    }

    /// Waits for something, and throws away what has come: where much comes that nobody wants to know, this is cheap.
    pub fn discard(&mut self) -> Result<(), ClientError> {
        let end = Instant::now() + self.deadline;
        self.read(end, |_, _| {})
    }

    fn fill(&mut self, end: Instant) -> Result<(), ClientError> {
        self.read(end, |reader, bytes| reader.push(bytes))
    }

    fn read(&mut self, end: Instant, taken: impl FnOnce(&mut Reader, &[u8])) -> Result<(), ClientError> {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ClientError::Deadline);
        }
        let mut chunk = [0; 16 * 1024];
        let read = match &mut self.transport {
            Transport::Clear(socket) => {
                set_timeout(socket, left)?;
                socket.read(&mut chunk)
            }
            Transport::Tls(stream) => {
                set_timeout(&stream.sock, left)?;
                stream.read(&mut chunk)
            }
            Transport::Gone => return Err(ClientError::Closed),
        };
        match read {
            Ok(0) => Err(ClientError::Closed),
            Ok(count) => {
                taken(&mut self.reader, chunk.get(..count).unwrap_or_default());
                Ok(())
            }
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                Err(ClientError::Deadline)
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(()),
            // A reset, or TLS without close_notify: gone is gone.
            Err(e) if matches!(e.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof) => {
                Err(ClientError::Closed)
            }
            Err(error) => Err(ClientError::Io { doing: "receiving", error }),
        }
    }

    /// What the server says until it closes the connection; its stream errors are elements among it.
    pub fn receive_until_closed(&mut self) -> Result<Vec<Item>, ClientError> {
        let mut items = Vec::new();
        loop {
            match self.receive() {
                Ok(item) => items.push(item),
                Err(ClientError::Closed) => return Ok(items),
                Err(error) => return Err(error),
            }
        }
    }

    /// Closes the stream properly (RFC 6120 §4.4) and waits for the server to do so; returns what came
    /// meanwhile.
    pub fn close(mut self) -> Result<Vec<Element>, ClientError> {
        self.send("</stream:stream>")?;
        let mut late = Vec::new();
        loop {
            match self.receive()? {
                Item::Close => return Ok(late),
                Item::Element(element) => late.push(element),
                other @ Item::Open(_) => return unexpected("the stream's end", &other),
            }
        }
    }
}

/// A connection from `source`, or from an address of the system's choice.
pub(crate) fn connect(to: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    if let Some(source) = source {
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    socket.connect_timeout(&to.into(), DEADLINE)?;
    Ok(socket.into())
}

fn set_timeout(socket: &TcpStream, time: Duration) -> Result<(), ClientError> {
    socket.set_read_timeout(Some(time)).map_err(|error| ClientError::Io { doing: "setting a timeout", error })
}

/// Trusts the one certificate, checks its names.
fn tls_config(
    path: &std::path::Path,
    direct: bool,
    identity: Option<&Identity>,
) -> Result<Arc<rustls::ClientConfig>, ClientError> {
    let bad = |e: &dyn fmt::Display| ClientError::Tls(format!("{}: {e}", path.display()));
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|e| bad(&e))? {
        roots.add(certificate.map_err(|e| bad(&e))?).map_err(|e| bad(&e))?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| bad(&e))?
        .with_root_certificates(roots);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(Identity { chain, key }) => {
            let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(chain).map_err(|e| bad(&e))?.collect();
            let key = PrivateKeyDer::from_pem_file(key).map_err(|e| bad(&e))?;
            builder.with_client_auth_cert(chain.map_err(|e| bad(&e))?, key).map_err(|e| bad(&e))?
        }
    };
    if direct {
        // XEP-0368 §2.
        config.alpn_protocols = vec![b"xmpp-client".to_vec()];
    }
    Ok(Arc::new(config))
}
