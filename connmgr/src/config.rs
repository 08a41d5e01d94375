//! The configuration file: read once, checked whole, passed down as plain values.

use crate::limits::{CLIENT_AUTHORITIES_MAX, EVENT_LOOPS_MAX};
use crate::network::Network;
use crate::rate::{Bucket, Rates};
use serde::Deserialize;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Everything an edge is told. [`Config::default`] is what `connmgr.toml` shows.
#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    /// Name of this edge towards the core, and in its log. `None`: `edge`, or what the key file says.
    pub name: Option<String>,
    /// Event loops, each one thread.
    pub event_loops: u16,
    /// `None`: a Unix socket where `hearth-core` has it by default, or what the key file says.
    pub core: Option<CoreAddress>,
    /// What a client is told to come back to, to resume its stream (XEP-0198 §3): `HOST`, `HOST:PORT`.
    pub resume_location: Option<String>,
    /// The file that `hearthctl edge add` made: this edge's key, the core's, its name. For links over TLS.
    pub link_key: Option<PathBuf>,
    pub listeners: Vec<Listener>,
    /// Certificates by domain; the first is also for clients that name no domain.
    pub certificates: Vec<Certificate>,
    /// Folder with `DOMAIN/fullchain.pem` and `DOMAIN/privkey.pem`, as ACME clients lay them out.
    pub certificate_folder: Option<PathBuf>,
    /// Who vouches for clients that log in by a certificate (XEP-0178).
    pub client_authorities: Vec<ClientAuthority>,
    pub self_signed: SelfSigned,
    /// `None`: only if no other certificates are configured.
    pub self_signed_enabled: Option<bool>,
    pub timeouts: Timeouts,
    pub drain: Drain,
    /// Most client connections of the process; less if the descriptors allow less.
    pub connections_max: usize,
    /// Connections of one address (IPv6: of one /64) that are not authenticated, per event loop.
    /// Loopback addresses are exempt.
    pub unauthenticated_per_address_max: u32,
    /// All connections of one address, in the same way.
    pub connections_per_address_max: u32,
    /// How fast one client may send.
    pub bucket: Bucket,
    /// TLS handshakes of one address (IPv6: of one /64) a second, per event loop, and how many at once of one that was
    /// quiet; more wait for their turn. 0 a second: any number.
    pub handshakes_per_address_s: u32,
    pub handshakes_per_address_burst: u32,
    /// Loopback addresses are bounded like others.
    pub loopback_is_bounded: bool,
    pub log: Log,
    /// Where figures are served (OpenMetrics, HTTP); `None`: nowhere.
    pub metrics: Option<SocketAddr>,
}

/// Where the core listens for links.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CoreAddress {
    Unix(PathBuf),
    /// A loopback address: the link is not encrypted.
    Tcp(SocketAddr),
    /// `HOST:PORT` of a core on another machine.
    Tls(String),
}

/// One address where clients connect.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listener {
    pub address: SocketAddr,
    pub tls: ListenerTls,
    /// Clients on loopback addresses may log in without TLS.
    pub allow_clear_login: bool,
    /// Proxies whose connections begin with a PROXY header, which is believed. From elsewhere it is not understood.
    pub proxy_from: Vec<Network>,
}

/// How a listener's connections come to be encrypted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ListenerTls {
    /// RFC 6120 §5.
    Starttls,
    /// XEP-0368.
    Direct,
}

/// A certificate chain and its key, PEM.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    pub domain: String,
    pub chain: PathBuf,
    pub key: PathBuf,
}

/// Certificates of clients that are good for addresses of a domain.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientAuthority {
    pub domain: String,
    /// Roots, PEM: who signs them.
    pub roots: PathBuf,
}

/// Certificates that are made where there is none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SelfSigned {
    pub folder: PathBuf,
    /// These have one together, at once; other domains get theirs when the core announces them.
    pub domains: Vec<String>,
}

impl Default for SelfSigned {
    fn default() -> SelfSigned {
        SelfSigned { folder: PathBuf::from("./hearth-data/tls"), domains: vec!["localhost".to_owned()] }
    }
}

/// How long a client may take, seconds. An idle time of 0 is for ever.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// From accept to a bound resource, whatever the client sends meanwhile.
    pub login_s: u32,
    /// From the first to the last byte of one stanza.
    pub stanza_s: u32,
    /// Without a byte from a bound client, keepalives included: then it is asked for a sign of life.
    pub idle_s: u32,
    /// Without a byte from a bound client that was asked for a sign of life.
    pub ack_timeout_s: u32,
    /// For which sessions wait without a core.
    pub core_away_s: u32,
    /// While what was sent is not acknowledged by the client's TCP; 0: what the kernel does.
    pub tcp_user_timeout_s: u32,
    /// Without progress while output waits for the client.
    pub unread_s: u32,
    /// How long a stopping edge takes to end its streams, at most.
    pub drain_s: u32,
}

/// How an edge stops.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Drain {
    /// Streams that each event loop ends in a second, at least; more if `timeouts.drain_s` asks for it.
    pub streams_per_s: u32,
    /// Where clients are sent that have not logged in (RFC 6120 §4.9.3.19).
    pub other_host: Option<String>,
    /// Those that have, and cannot resume their session, too.
    pub other_host_after_login: bool,
}

impl Default for Drain {
    fn default() -> Drain {
        Drain { streams_per_s: 2_000, other_host: None, other_host_after_login: false }
    }
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            login_s: 30,
            stanza_s: 60,
            idle_s: 0,
            ack_timeout_s: 30,
            core_away_s: 300,
            tcp_user_timeout_s: 120,
            unread_s: 60,
            drain_s: 10,
        }
    }
}

/// What is logged, and how.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: String,
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Log {
        Log { level: "info".to_owned(), format: LogFormat::Text }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

impl Default for Config {
    fn default() -> Config {
        let listener = |port, tls| Listener {
            address: SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, port)),
            tls,
            allow_clear_login: false,
            proxy_from: Vec::new(),
        };
        Config {
            name: None,
            event_loops: default_event_loops(),
            core: None,
            resume_location: None,
            link_key: None,
            listeners: vec![listener(5222, ListenerTls::Starttls), listener(5223, ListenerTls::Direct)],
            certificates: Vec::new(),
            certificate_folder: None,
            client_authorities: Vec::new(),
            self_signed_enabled: None,
            self_signed: SelfSigned::default(),
            timeouts: Timeouts::default(),
            drain: Drain::default(),
            connections_max: 1_000_000,
            unauthenticated_per_address_max: 256,
            connections_per_address_max: 10_000,
            bucket: Rates::default().into(),
            handshakes_per_address_s: 200,
            handshakes_per_address_burst: 1_000,
            loopback_is_bounded: false,
            log: Log::default(),
            metrics: None,
        }
    }
}

fn default_event_loops() -> u16 {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    u16::try_from(cpus).unwrap_or(EVENT_LOOPS_MAX).min(EVENT_LOOPS_MAX)
}

/// What is wrong with a configuration, in one line: place, key, value, what was expected.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigError(pub String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Reads and checks a file.
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        let text =
            std::fs::read_to_string(path).map_err(|e| ConfigError(format!("{}: cannot read: {e}", path.display())))?;
        Config::parse(&text).map_err(|e| ConfigError(format!("{}: {e}", path.display())))
    }

    /// Whether certificates are made where there is none.
    pub fn makes_certificates(&self) -> bool {
        self.self_signed_enabled.unwrap_or(self.certificates.is_empty() && self.certificate_folder.is_none())
    }

    /// Reads and checks a file's text.
    pub fn parse(text: &str) -> Result<Config, ConfigError> {
        let file: File = toml::from_str(text).map_err(|e| {
            let at = e.span().map_or(0, |span| span.start);
            let line = text.bytes().take(at).filter(|b| *b == b'\n').count().saturating_add(1);
            ConfigError(format!("line {line}: {}", e.message().replace('\n', " ")))
        })?;
        file.check()
    }
}

/// The file as written; absent keys take their defaults.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: Option<String>,
    event_loops: Option<u16>,
    core: Option<String>,
    resume_location: Option<String>,
    link_key: Option<PathBuf>,
    #[serde(default)]
    listen: Option<Vec<FileListener>>,
    #[serde(default)]
    certificate: Vec<Certificate>,
    #[serde(default)]
    certificates: FileCertificates,
    #[serde(default)]
    client_authority: Vec<ClientAuthority>,
    #[serde(default)]
    self_signed: FileSelfSigned,
    #[serde(default)]
    timeouts: Timeouts,
    #[serde(default)]
    drain: Drain,
    #[serde(default)]
    limits: FileLimits,
    #[serde(default)]
    log: Log,
    metrics: Option<SocketAddr>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct FileCertificates {
    folder: Option<PathBuf>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct FileSelfSigned {
    enabled: Option<bool>,
    folder: Option<PathBuf>,
    domains: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileListener {
    address: String,
    tls: ListenerTls,
    #[serde(default)]
    allow_clear_login: bool,
    #[serde(default)]
    proxy_from: Vec<String>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct FileLimits {
    connections_max: Option<usize>,
    unauthenticated_per_address_max: Option<u32>,
    connections_per_address_max: Option<u32>,
    rate: Rates,
    handshakes_per_address_s: Option<u32>,
    handshakes_per_address_burst: Option<u32>,
    loopback_is_bounded: bool,
}

impl File {
    fn check(self) -> Result<Config, ConfigError> {
        let defaults = Config::default();
        let event_loops = match self.event_loops {
            None | Some(0) => defaults.event_loops,
            Some(n) => range("event_loops", n, 1, EVENT_LOOPS_MAX)?,
        };
        let listeners = match self.listen {
            None => defaults.listeners,
            Some(all) => all.into_iter().map(FileListener::check).collect::<Result<Vec<_>, _>>()?,
        };
        if listeners.is_empty() {
            return Err(ConfigError("listen = []: expected at least one address for clients".to_owned()));
        }
        let Timeouts {
            login_s,
            stanza_s,
            idle_s: _,
            ack_timeout_s,
            core_away_s,
            tcp_user_timeout_s,
            unread_s,
            drain_s,
        } = self.timeouts;
        range("timeouts.tcp_user_timeout_s", tcp_user_timeout_s, 0, 86_400)?;
        for (key, value) in [
            ("timeouts.login_s", login_s),
            ("timeouts.stanza_s", stanza_s),
            ("timeouts.ack_timeout_s", ack_timeout_s),
            ("timeouts.core_away_s", core_away_s),
            ("timeouts.unread_s", unread_s),
            ("timeouts.drain_s", drain_s),
        ] {
            range(key, value, 1, 86_400)?;
        }
        range("drain.streams_per_s", self.drain.streams_per_s, 1, 1_000_000)?;
        if !["error", "warn", "info", "debug", "trace"].contains(&self.log.level.as_str()) {
            return Err(expected("log.level", &self.log.level, "error, warn, info, debug or trace"));
        }
        let made = SelfSigned::default();
        let self_signed = SelfSigned {
            folder: self.self_signed.folder.unwrap_or(made.folder),
            domains: self.self_signed.domains.unwrap_or(made.domains),
        };
        let named = self.certificate.iter().map(|c| &c.domain).chain(self.client_authority.iter().map(|a| &a.domain));
        if self.client_authority.len() > CLIENT_AUTHORITIES_MAX {
            let count = self.client_authority.len().to_string();
            return Err(expected("client_authority", &count, "at most as many as there are domains worth it: 64"));
        }
        for domain in self_signed.domains.iter().chain(named) {
            hearth_wire::jid::prepare_domainpart(domain).map_err(|_| expected("domain", domain, "a domain name"))?;
        }
        let others = !self.certificate.is_empty() || self.certificates.folder.is_some();
        if !self.self_signed.enabled.unwrap_or(!others) && !others {
            let message = "self_signed.enabled = false: expected a [[certificate]], or certificates.folder";
            return Err(ConfigError(message.to_owned()));
        }
        let core = self.core.as_deref().map(core_address).transpose()?;
        if let (Some(CoreAddress::Tls(host)), None) = (&core, &self.link_key) {
            return Err(ConfigError(format!(
                "core = \"tls:{host}\": expected link_key = FILE too, as `hearthctl edge add` on the core's machine makes it"
            )));
        }
        if let Some(name) = self.name.as_deref().filter(|name| !hearth_link::is_edge_name(name)) {
            return Err(expected("name", name, "letters, digits, '.', '_' and '-', at most 64"));
        }
        for (key, location) in
            [("resume_location", &self.resume_location), ("drain.other_host", &self.drain.other_host)]
        {
            if let Some(location) = location.as_deref().filter(|location| !is_location(location)) {
                return Err(expected(key, location, "HOST or HOST:PORT, an IPv6 address in brackets"));
            }
        }
        if self.drain.other_host_after_login && self.drain.other_host.is_none() {
            return Err(expected("drain.other_host_after_login", "true", "drain.other_host = HOST too"));
        }
        Ok(Config {
            name: self.name,
            event_loops,
            core,
            resume_location: self.resume_location,
            link_key: self.link_key,
            listeners,
            certificates: self.certificate,
            certificate_folder: self.certificates.folder,
            client_authorities: self.client_authority,
            self_signed,
            self_signed_enabled: self.self_signed.enabled,
            timeouts: self.timeouts,
            drain: self.drain,
            connections_max: range(
                "limits.connections_max",
                self.limits.connections_max.unwrap_or(defaults.connections_max),
                1,
                100_000_000,
            )?,
            unauthenticated_per_address_max: range(
                "limits.unauthenticated_per_address_max",
                self.limits.unauthenticated_per_address_max.unwrap_or(defaults.unauthenticated_per_address_max),
                1,
                1_000_000,
            )?,
            connections_per_address_max: range(
                "limits.connections_per_address_max",
                self.limits.connections_per_address_max.unwrap_or(defaults.connections_per_address_max),
                1,
                100_000_000,
            )?,
            bucket: rates(self.limits.rate)?.into(),
            handshakes_per_address_s: range(
                "limits.handshakes_per_address_s",
                self.limits.handshakes_per_address_s.unwrap_or(defaults.handshakes_per_address_s),
                0,
                1_000_000,
            )?,
            handshakes_per_address_burst: range(
                "limits.handshakes_per_address_burst",
                self.limits.handshakes_per_address_burst.unwrap_or(defaults.handshakes_per_address_burst),
                1,
                1_000_000,
            )?,
            loopback_is_bounded: self.limits.loopback_is_bounded,
            metrics: self.metrics,
            log: self.log,
        })
    }
}

/// The longest stanza must not hold its client longer than what it is asked for a sign of life.
fn rates(rates: Rates) -> Result<Rates, ConfigError> {
    if rates.bytes_per_s > 0 {
        range("limits.rate.bytes_per_s", rates.bytes_per_s, 10_000, 100_000_000)?;
    }
    range("limits.rate.stanzas_per_s", rates.stanzas_per_s, 0, 1_000_000)?;
    range("limits.rate.burst_s", rates.burst_s, 1, 40)?;
    Ok(rates)
}

/// RFC 6120 §4.9.3.19: a domainpart, perhaps with a port; an IPv6 address stands in brackets.
fn is_location(location: &str) -> bool {
    let (host, port) = match location.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (location, None),
    };
    let good_port = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    good_port && hearth_wire::jid::prepare_domainpart(host).is_ok()
}

impl FileListener {
    fn check(self) -> Result<Listener, ConfigError> {
        let address = self.address.parse().map_err(|_| {
            expected("listen.address", &self.address, "address:port, such as 0.0.0.0:5222 or [::]:5222")
        })?;
        if self.allow_clear_login && self.tls == ListenerTls::Direct {
            return Err(expected("listen.allow_clear_login", "true", "false where tls = \"direct\""));
        }
        let network = |text: &String| {
            let expected = || expected("listen.proxy_from", text, "an address or a network, such as 192.0.2.0/24");
            Network::parse(text).ok_or_else(expected)
        };
        let proxy_from = self.proxy_from.iter().map(network).collect::<Result<_, _>>()?;
        Ok(Listener { address, tls: self.tls, allow_clear_login: self.allow_clear_login, proxy_from })
    }
}

fn core_address(text: &str) -> Result<CoreAddress, ConfigError> {
    const EXPECTED: &str = "unix:PATH, tls:HOST:PORT, or tcp:ADDRESS:PORT with a loopback address";
    if let Some(host) = text.strip_prefix("tls:") {
        let port = host.rsplit_once(':').filter(|(name, _)| !name.is_empty()).and_then(|(_, port)| port.parse().ok());
        return match port {
            Some(1..=u16::MAX) => Ok(CoreAddress::Tls(host.to_owned())),
            _ => Err(expected("core", text, EXPECTED)),
        };
    }
    if let Some(path) = text.strip_prefix("unix:")
        && !path.is_empty()
    {
        return Ok(CoreAddress::Unix(PathBuf::from(path)));
    }
    let address: Option<SocketAddr> = text.strip_prefix("tcp:").and_then(|address| address.parse().ok());
    match address {
        Some(address) if address.ip().is_loopback() => Ok(CoreAddress::Tcp(address)),
        Some(_) | None => Err(expected("core", text, EXPECTED)),
    }
}

fn range<T: PartialOrd + fmt::Display>(key: &str, value: T, min: T, max: T) -> Result<T, ConfigError> {
    if value < min || value > max {
        return Err(ConfigError(format!("{key} = {value}: expected {min} to {max}")));
    }
    Ok(value)
}

fn expected(key: &str, value: &str, expected: &str) -> ConfigError {
    ConfigError(format!("{key} = {value:?}: expected {expected}"))
}

/// Who this edge is and whom it dials, once the key file is read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Uplink {
    pub(crate) name: String,
    pub(crate) core: CoreAddress,
    pub(crate) bundle: Option<hearth_link::Bundle>,
}

impl Config {
    /// Reads the key file, if there is one, and joins what it says with what is configured.
    pub(crate) fn uplink(&self) -> Result<Uplink, ConfigError> {
        let bundle = match &self.link_key {
            Some(path) => Some(hearth_link::Bundle::load(path).map_err(|e| ConfigError(format!("link_key: {e}")))?),
            None => None,
        };
        let of_key = bundle.as_ref().map(|bundle| &bundle.name);
        if let (Some(name), Some(of_key)) = (&self.name, of_key)
            && name != of_key
        {
            return Err(expected("name", name, &format!("{of_key:?}, the name in link_key, or no name here")));
        }
        let core = match (&self.core, &bundle) {
            (Some(core), _) => core.clone(),
            (None, Some(bundle)) => core_address(&format!("tls:{}", bundle.core))?,
            (None, None) => CoreAddress::Unix(PathBuf::from("./hearth-data/link.sock")),
        };
        let name = of_key.or(self.name.as_ref()).map_or("edge", String::as_str).to_owned();
        Ok(Uplink { name, core, bundle })
    }
}

impl fmt::Display for CoreAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CoreAddress::Unix(path) => write!(f, "unix:{}", path.display()),
            CoreAddress::Tcp(address) => write!(f, "tcp:{address}"),
            CoreAddress::Tls(host) => write!(f, "tls:{host}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_is_the_default() {
        assert_eq!(Config::parse(include_str!("../connmgr.toml")).unwrap(), Config::default());
        assert_eq!(Config::parse("").unwrap(), Config::default());
    }

    #[test]
    fn errors_say_where_what_and_what_else() {
        let rows = [
            ("nam = 'x'", "line 1: unknown field `nam`"),
            ("name = 'x'\n[timeouts]\nlogin = 3", "line 3: unknown field `login`"),
            ("[self_signed]\nenabled = false", "self_signed.enabled = false: expected a [[certificate]]"),
            ("[drain]\nstreams_per_s = 0", "drain.streams_per_s = 0: expected 1 to 1000000"),
            ("[drain]\nother_host = \"a b\"", "drain.other_host = \"a b\": expected HOST or HOST:PORT"),
            (
                "[drain]\nother_host_after_login = true",
                "drain.other_host_after_login = \"true\": expected drain.other_host",
            ),
            ("[timeouts]\ndrain_s = 0", "timeouts.drain_s = 0: expected 1 to 86400"),
            ("[timeouts]\nlogin_s = 0", "timeouts.login_s = 0: expected 1 to 86400"),
            ("core = 'tcp:10.0.0.1:5'", "core = \"tcp:10.0.0.1:5\": expected unix:PATH"),
            ("core = 'tls:core.example.org:5270'", "expected link_key = FILE too"),
            ("core = 'tls:core.example.org'", "core = \"tls:core.example.org\": expected"),
            ("name = 'my edge'", "name = \"my edge\": expected letters"),
            ("core = 'somewhere'", "core = \"somewhere\": expected"),
            ("listen = []", "listen = []: expected at least one"),
            ("[[listen]]\naddress = 'x'\ntls = 'starttls'", "listen.address = \"x\": expected address:port"),
            ("[[listen]]\naddress = '0.0.0.0:1'\ntls = 'none'", "line 3: unknown variant `none`"),
            (
                "[[listen]]\naddress = '0.0.0.0:1'\ntls = 'direct'\nallow_clear_login = true",
                "listen.allow_clear_login = \"true\"",
            ),
            ("resume_location = 'a b'", "resume_location = \"a b\": expected HOST"),
            ("resume_location = '2001:db8::1'", "resume_location = \"2001:db8::1\": expected HOST"),
            ("resume_location = 'a.example:0'", "expected HOST or HOST:PORT"),
            ("[timeouts]\nack_timeout_s = 0", "timeouts.ack_timeout_s = 0: expected 1 to 86400"),
            ("event_loops = 5000", "event_loops = 5000: expected 1 to 256"),
            (
                "[[listen]]\naddress = '0.0.0.0:1'\ntls = 'direct'\nproxy_from = ['192.0.2.1/24']",
                "listen.proxy_from = \"192.0.2.1/24\": expected an address or a network",
            ),
            ("[limits.rate]\nbytes_per_s = 9999", "limits.rate.bytes_per_s = 9999: expected 10000 to"),
            ("[limits.rate]\nburst_s = 0", "limits.rate.burst_s = 0: expected 1 to 40"),
            ("[limits]\nconnections_per_address_max = 0", "limits.connections_per_address_max = 0: expected 1"),
            ("[log]\nlevel = 'loud'", "log.level = \"loud\": expected error"),
        ];
        for (text, want) in rows {
            let got = Config::parse(text).unwrap_err().to_string();
            assert!(got.contains(want), "{text}\n{got}");
            assert!(!got.contains('\n'), "{got}");
        }
    }
}
