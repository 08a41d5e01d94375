//! The servers of a run: one core and two edges, each a process of its own, on loopback addresses of their own.
//!
//! ```text
//! clients ══▶ edge1 ── Unix socket ─────▶ core
//!         ══▶ edge2 ── TCP ── relay.rs ──▶
//! ```

use super::limits::STOP;
use super::plan::{EDGES, Part};
use super::relay::Relay;
use crate::embedded::named_parent;
use crate::load::probe::{Process, Processes};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The words by which this program runs itself as one of the servers.
pub(super) const CORE: &str = "core";
pub(super) const EDGE: &str = "edge";

/// How the servers are set up.
pub(super) struct Setup<'a> {
    /// Files of the run; the core's data is in `data` there.
    pub(super) folder: &'a Path,
    /// Where `hearth-core` and `hearth-connmgr` are; else this program runs itself.
    pub(super) servers: Option<&'a Path>,
    pub(super) domain: &'a str,
    pub(super) shards: u16,
    pub(super) event_loops: u16,
    pub(super) log_off: bool,
}

/// One process, started again and again.
struct Server {
    program: PathBuf,
    arguments: Vec<String>,
    log: PathBuf,
    child: Option<Child>,
    paused: bool,
    /// It was asked to end.
    stopping: bool,
}

pub(super) struct Servers {
    /// In the order of [`Part::ALL`].
    servers: Vec<Server>,
    pub(super) listen: [SocketAddr; EDGES],
    pub(super) relay: Relay,
    /// The core's control socket.
    pub(super) control: PathBuf,
}

impl Servers {
    /// Writes the configurations; nothing runs yet.
    pub(super) fn prepare(setup: &Setup<'_>) -> Result<Servers, String> {
        let text = |what: &'static str| move |error: std::io::Error| format!("{what}: {error}");
        let free = || free_address().map_err(text("finding a free port"));
        let (link, listen) = (free()?, [free()?, free()?]);
        let relay = Relay::start(SocketAddr::new(link.ip(), 0), link).map_err(text("starting the relay"))?;
        let data = setup.folder.join("data");
        let cores = [format!("unix:{}", data.join("link.sock").display()), format!("tcp:{}", relay.address())];
        let core = format!(
            "data = {data:?}\nshards = {}\nclear_login = true\nlink_unix = \"link.sock\"\nlink_tcp = \"{link}\"\n\
             [[domains]]\nname = \"{}\"\nlog_off = {}\n",
            setup.shards, setup.domain, setup.log_off
        );
        let mut servers = vec![Server::new(setup, Part::Core, &core)?];
        for (index, (address, core)) in listen.iter().zip(cores).enumerate() {
            let tls = setup.folder.join(format!("tls{}", index + 1));
            let edge = format!(
                "name = \"{}\"\nevent_loops = {}\ncore = {core:?}\n\
                 [[listen]]\naddress = \"{address}\"\ntls = \"starttls\"\nallow_clear_login = true\n\
                 [self_signed]\nfolder = {tls:?}\ndomains = [\"{}\"]\n",
                Part::Edge(index),
                setup.event_loops,
                setup.domain
            );
            servers.push(Server::new(setup, Part::Edge(index), &edge)?);
        }
        Ok(Servers { servers, listen, relay, control: data.join("control.sock") })
    }

    fn server(&mut self, part: Part) -> Option<&mut Server> {
        self.servers.get_mut(place(part))
    }

    /// It runs, perhaps standing still, and was not asked to end.
    pub(super) fn is_up(&self, part: Part) -> bool {
        self.servers.get(place(part)).is_some_and(|server| server.child.is_some() && !server.stopping)
    }

    pub(super) fn is_paused(&self, part: Part) -> bool {
        self.servers.get(place(part)).is_some_and(|server| server.paused)
    }

    /// Starts what does not run.
    pub(super) fn start(&mut self, part: Part) -> Result<(), String> {
        let Some(server) = self.server(part).filter(|server| server.child.is_none()) else { return Ok(()) };
        server.start()
    }

    pub(super) fn start_all(&mut self) -> Result<(), String> {
        Part::ALL.into_iter().try_for_each(|part| self.start(part))
    }

    /// kill -9.
    pub(super) fn kill(&mut self, part: Part) {
        if let Some(server) = self.server(part) {
            server.kill();
        }
    }

    /// SIGTERM; returns how long it took to end.
    pub(super) fn stop(&mut self, part: Part) -> Result<Duration, String> {
        self.server(part).map_or(Ok(Duration::ZERO), Server::stop)
    }

    /// SIGTERM; [`Servers::has_ended`] says when it is over.
    pub(super) fn ask_to_stop(&mut self, part: Part) {
        if let Some(server) = self.server(part) {
            server.signal(Signal::TERM);
            server.stopping = true;
        }
    }

    pub(super) fn has_ended(&mut self, part: Part) -> bool {
        self.server(part).is_none_or(|server| server.child.is_none() || server.ended().is_some())
    }

    /// SIGSTOP.
    pub(super) fn pause(&mut self, part: Part) {
        if let Some(server) = self.server(part) {
            server.signal(Signal::STOP);
            server.paused = true;
        }
    }

    /// SIGCONT.
    pub(super) fn resume(&mut self, part: Part) {
        if let Some(server) = self.server(part).filter(|server| server.paused) {
            server.signal(Signal::CONT);
            server.paused = false;
        }
    }

    /// Nothing ends by itself.
    pub(super) fn check(&mut self) -> Result<(), String> {
        for server in self.servers.iter_mut().filter(|server| !server.stopping) {
            if let Some(status) = server.ended() {
                return Err(format!("{} ended by itself ({status}): see {}", server.name(), server.log.display()));
            }
        }
        Ok(())
    }

    /// The processes that run now.
    pub(super) fn processes(&self) -> Processes {
        let parts = Part::ALL.iter().zip(&self.servers);
        let running = |(part, server): (&Part, &Server)| {
            let pid = server.child.as_ref()?.id();
            Some(Process { name: part.to_string(), pid })
        };
        Processes(parts.filter_map(running).collect())
    }
}

impl Server {
    fn new(setup: &Setup<'_>, part: Part, configuration: &str) -> Result<Server, String> {
        let file = setup.folder.join(format!("{part}.toml"));
        fs::write(&file, configuration).map_err(|error| format!("{}: {error}", file.display()))?;
        let (word, name) = if part == Part::Core { (CORE, "hearth-core") } else { (EDGE, "hearth-connmgr") };
        let path = file.display().to_string();
        let (program, arguments) = match setup.servers {
            Some(servers) => (servers.join(name), vec!["--config".to_owned(), path]),
            None => {
                let own = std::env::current_exe().map_err(|error| format!("finding this program: {error}"))?;
                (own, vec![word.to_owned(), path])
            }
        };
        let log = setup.folder.join(format!("{part}.log"));
        Ok(Server { program, arguments, log, child: None, paused: false, stopping: false })
    }

    fn name(&self) -> String {
        self.log.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned())
    }

    fn start(&mut self) -> Result<(), String> {
        let failed = |error| format!("starting {}: {error}", self.program.display());
        let log = OpenOptions::new().create(true).append(true).open(&self.log).map_err(failed)?;
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        named_parent(&mut command);
        self.child = Some(command.spawn().map_err(failed)?);
        (self.paused, self.stopping) = (false, false);
        Ok(())
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.as_ref().and_then(|child| Pid::from_raw(i32::try_from(child.id()).ok()?));
        if let Some(pid) = pid {
            let _ = kill_process(pid, signal); // a child that has ended is ours until it is waited for
        }
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        self.paused = false;
    }

    fn stop(&mut self) -> Result<Duration, String> {
        let begun = Instant::now();
        self.signal(Signal::TERM);
        while self.child.is_some() && self.ended().is_none() {
            if begun.elapsed() > STOP {
                self.kill();
                return Err(format!("{} does not stop: see {}", self.name(), self.log.display()));
            }
            thread::sleep(Duration::from_millis(2));
        }
        Ok(begun.elapsed())
    }

    /// Its status, once, if it has ended.
    fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut()?.try_wait().ok()??;
        self.child = None;
        Some(status)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Where a part is among the servers.
fn place(part: Part) -> usize {
    match part {
        Part::Core => 0,
        Part::Edge(index) => index + 1,
    }
}

/// A port that is free, on a loopback address that no other run uses and no client connects from.
fn free_address() -> std::io::Result<SocketAddr> {
    let [.., high, low] = std::process::id().to_be_bytes();
    let address = Ipv4Addr::new(127, 100 | (high & 0x7f), low, 1);
    TcpListener::bind((address, 0))?.local_addr()
}
