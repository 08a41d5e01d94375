//! The command line, and the configurations that come of it.

use super::{Exit, Failure};
use argh::{EarlyExit, FromArgs};
use hearth_connmgr::config::{self as edge, CoreAddress, Listener, ListenerTls, SelfSigned};
use hearth_connmgr::rate::Rates;
use hearth_core::config as core;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::PathBuf;

/// A whole XMPP server on this machine: starts one core and one edge, with an embedded store. Ctrl-C stops it.
#[derive(FromArgs, Clone, PartialEq, Eq, Debug)]
#[argh(
    example = "Try it out on this machine, with accounts @localhost:\n$ {command_name}",
    example = "Serve a domain to the network:\n$ {command_name} --domain chat.example.org --listen :: --data ./chat",
    note = "`hearth ctl` is hearthctl in this executable: hearth ctl --help. hearth-core and hearth-connmgr run the two parts apart, each from a configuration file.",
    error_code(2, "this command line makes no sense"),
    error_code(3, "a value is not possible: a domain, a number of threads"),
    error_code(4, "an address or port cannot be had, or is in use"),
    error_code(5, "the data folder, its store or its certificate cannot be used"),
    error_code(6, "the operating system refused something else"),
    error_code(8, "core or edge died again and again")
)]
pub struct Args {
    /// folder of the store, the certificate and the control socket (default: ./hearth-data)
    #[argh(option, default = "PathBuf::from(DATA)")]
    pub data: PathBuf,
    /// domain of the accounts; may be given several times (default: localhost)
    #[argh(option)]
    pub domain: Vec<String>,
    /// address to take clients on; may be given several times; 0.0.0.0 and :: are all there are
    /// (default: 127.0.0.1 and ::1, this machine only)
    #[argh(option)]
    pub listen: Vec<IpAddr>,
    /// port for clients that secure the connection by STARTTLS (default: 5222; 0 for any free one)
    #[argh(option, default = "5222")]
    pub c2s_port: u16,
    /// port for clients that begin with TLS (default: 5223; 0 for any free one)
    #[argh(option, default = "5223")]
    pub c2s_tls_port: u16,
    /// let clients on this machine log in without TLS: for load tests
    #[argh(switch)]
    pub allow_clear_login: bool,
    /// let clients send as fast as they can: for load tests
    #[argh(switch)]
    pub no_rate_limit: bool,
    /// threads of the core (default: 1)
    #[argh(option, default = "1")]
    pub core_shards: u16,
    /// threads of the edge (default: 1)
    #[argh(option, default = "1")]
    pub event_loops: u16,
    /// what to log: error, warn, info, debug or trace (default: warn)
    #[argh(option, default = "String::from(\"warn\")")]
    pub log: String,
}

/// The data folder unless told otherwise.
pub(super) const DATA: &str = "./hearth-data";

impl Args {
    /// Parses the command line.
    pub fn read(arguments: &[String]) -> Result<Args, EarlyExit> {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut args = Args::from_args(&["hearth"], &arguments)?;
        if args.domain.is_empty() {
            args.domain.push("localhost".to_owned());
        }
        Ok(args)
    }

    /// The edge's configuration.
    pub(super) fn edge(&self) -> Result<edge::Config, Failure> {
        let range = 1..=hearth_connmgr::limits::EVENT_LOOPS_MAX;
        if !range.contains(&self.event_loops) {
            let message = format!("--event-loops {}: expected 1 to {}", self.event_loops, range.end());
            return Err(Failure::new(Exit::CONFIGURATION, message));
        }
        let listener = |(ip, (port, tls))| Listener {
            address: SocketAddr::new(ip, port),
            tls,
            allow_clear_login: self.allow_clear_login && tls == ListenerTls::Starttls,
            proxy_from: Vec::new(),
        };
        let ports = [(self.c2s_port, ListenerTls::Starttls), (self.c2s_tls_port, ListenerTls::Direct)];
        Ok(edge::Config {
            event_loops: self.event_loops,
            core: Some(CoreAddress::Unix(self.core().link_unix().unwrap_or_default())),
            listeners: self.addresses().into_iter().flat_map(|ip| ports.map(|port| listener((ip, port)))).collect(),
            self_signed: SelfSigned { folder: self.data.join("tls"), domains: self.domain.clone() },
            bucket: if self.no_rate_limit { Rates::NONE } else { Rates::default() }.into(),
            log: edge::Log { level: self.log.clone(), format: edge::LogFormat::Text },
            ..edge::Config::default()
        })
    }

    /// The core's configuration.
    pub(super) fn core(&self) -> core::Config {
        let domain = |name: &String| core::Domain::new(name);
        core::Config {
            data: self.data.clone(),
            shards: self.core_shards,
            domains: self.domain.iter().map(domain).collect(),
            clear_login: self.allow_clear_login,
            log: core::Log { level: self.log.clone(), format: core::LogFormat::Text },
            ..core::Config::default()
        }
    }

    /// What is wrong with the values, as far as it can be known before anything starts.
    pub(super) fn check(&self) -> Result<(), Failure> {
        self.core().check().map_err(|message| Failure::new(Exit::CONFIGURATION, message))?;
        self.edge().map(|_| ())
    }

    /// Where to listen: as told, else on the loopback addresses this machine has.
    fn addresses(&self) -> Vec<IpAddr> {
        if !self.listen.is_empty() {
            return self.listen.clone();
        }
        let mut loopback = vec![IpAddr::V4(Ipv4Addr::LOCALHOST)];
        if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
            loopback.push(IpAddr::V6(Ipv6Addr::LOCALHOST));
        }
        loopback
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Args {
        Args::read(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn what_comes_of_a_line() {
        let args = read("--domain a.example --domain b.example --listen 127.0.0.2 --c2s-port 0 --data x");
        assert_eq!(args.check(), Ok(()));
        let edge = args.edge().unwrap();
        assert_eq!(edge.core, Some(CoreAddress::Unix("x/link.sock".into())));
        let listeners: Vec<_> = edge.listeners.iter().map(|l| (l.address.to_string(), l.tls)).collect();
        assert_eq!(
            listeners,
            [("127.0.0.2:0".to_owned(), ListenerTls::Starttls), ("127.0.0.2:5223".to_owned(), ListenerTls::Direct)]
        );
        assert_eq!(args.core().domains.len(), 2);
        assert!(read("").listen.is_empty() && read("").edge().unwrap().listeners.len() >= 2);
        assert!(!edge.listeners.iter().any(|l| l.allow_clear_login));
        assert!(read("--allow-clear-login").core().clear_login);
        assert_eq!(edge.bucket, Rates::default().into());
        assert_eq!(read("--no-rate-limit").edge().unwrap().bucket, Rates::NONE.into());
    }

    #[test]
    fn values_that_cannot_be() {
        for line in ["--domain Ex@mple", "--event-loops 0", "--core-shards 0", "--log loud"] {
            assert_eq!(read(line).check().map_err(|failure| failure.exit), Err(Exit::CONFIGURATION), "{line}");
        }
        for line in ["--c2s-port 70000", "--listen example.org", "--frob", "frob"] {
            assert!(Args::read(&line.split(' ').map(str::to_owned).collect::<Vec<_>>()).is_err(), "{line}");
        }
    }
}
