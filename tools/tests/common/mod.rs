//! A `hearth` of one test: its own folder, its own ports, gone when the test ends.

#![allow(dead_code, reason = "each test file uses its part of it")]
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "helpers of tests fail as tests do"
)]

pub(crate) mod bystander;
pub(crate) mod clients;

use hearth_tools::client::{Client, ClientError, Server, Tls};
use hearth_tools::seed;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How long a test waits for what should come at once. Generous: it only ends tests that fail.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
/// Of every account the tests make.
pub(crate) const PASSWORD: &str = "secret";

pub(crate) struct Hearth {
    child: Child,
    pub(crate) data: PathBuf,
    pub(crate) starttls: SocketAddr,
    pub(crate) direct: SocketAddr,
    domain: String,
    folder: Option<tempfile::TempDir>,
}

/// How to start one.
pub(crate) struct Options<'a> {
    pub(crate) domain: &'a str,
    pub(crate) arguments: &'a [&'a str],
}

impl Default for Options<'_> {
    fn default() -> Self {
        Options { domain: "example.org", arguments: &[] }
    }
}

impl Hearth {
    /// Starts one and waits until it takes clients.
    pub(crate) fn start(options: &Options<'_>) -> Hearth {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Hearth::start_in(folder.path().join("data"), Some(folder), options)
    }

    /// Starts one whose store has so many accounts, user0, user1, …, each with so many contacts.
    pub(crate) fn seeded(users: u32, contacts: u32, arguments: &[&str]) -> Hearth {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let data = folder.path().join("data");
        let args = seed::Args {
            data: Some(data.clone()),
            users,
            password: PASSWORD.into(),
            contacts,
            ..seed::Args::default()
        };
        let done = seed::run(&args).expect("accounts");
        assert_eq!(done.totals.roster_items, u64::from(users * contacts));
        Hearth::start_in(data, Some(folder), &Options { domain: "localhost", arguments })
    }

    /// Starts one on a data folder that may be there already.
    pub(crate) fn start_in(data: PathBuf, folder: Option<tempfile::TempDir>, options: &Options<'_>) -> Hearth {
        let mut child = Hearth::command(&data, options).spawn().expect("hearth starts");
        let said = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || said.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let mut addresses = Vec::new();
        let end = Instant::now() + DEADLINE;
        loop {
            match lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    let mut words = line.split_whitespace();
                    if words.next() == Some("clients") {
                        addresses.push(words.next().expect("an address").parse().expect("an address"));
                    }
                    if line.contains("Ctrl-C") {
                        break;
                    }
                }
                Err(_) => {
                    let _ = child.kill();
                    panic!("hearth did not start; it logged:\n{}", log_of(&data));
                }
            }
        }
        let [starttls, direct] = addresses[..] else { panic!("addresses: {addresses:?}") };
        Hearth { child, data, starttls, direct, domain: options.domain.to_owned(), folder }
    }

    /// The command that starts one, its log in a file beside the data.
    pub(crate) fn command(data: &Path, options: &Options<'_>) -> Command {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log_path(data)).expect("a log file");
        let mut command = Command::new(env!("CARGO_BIN_EXE_hearth"));
        command
            .args(["--listen", "127.0.0.1", "--c2s-port", "0", "--c2s-tls-port", "0", "--domain", options.domain])
            .arg("--data")
            .arg(data)
            .args(options.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log);
        command
    }

    /// What it logged so far.
    pub(crate) fn log(&self) -> String {
        log_of(&self.data)
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.data.join("tls/self-signed.pem")
    }

    /// How clients reach it over STARTTLS.
    pub(crate) fn server(&self) -> Server {
        Server::new(self.starttls, &self.domain, Tls::Starttls(self.certificate()))
    }

    /// How clients reach it over direct TLS.
    pub(crate) fn server_direct(&self) -> Server {
        Server::new(self.direct, &self.domain, Tls::Direct(self.certificate()))
    }

    /// Runs hearthctl against it.
    pub(crate) fn ctl(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = Command::new(env!("CARGO_BIN_EXE_hearthctl"))
            .arg("--data")
            .arg(&self.data)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("hearthctl starts");
        // It may not want to read.
        let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
        child.wait_with_output().expect("hearthctl ends")
    }

    /// Adds an account with the password of tests.
    pub(crate) fn add(&self, account: &str) {
        let done = self.ctl(&["user", "add", account, "--password-stdin"], PASSWORD);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    /// Logs in, binds `resource`.
    pub(crate) fn login(&self, user: &str, resource: &str) -> Client {
        self.try_login(user, resource).unwrap_or_else(|e| panic!("{user} logs in: {e}\n{}", self.log()))
    }

    pub(crate) fn try_login(&self, user: &str, resource: &str) -> Result<Client, ClientError> {
        Client::login(&self.server(), user, PASSWORD, Some(resource))
    }

    /// Process id of a child, `core` or `edge`.
    pub(crate) fn part(&self, name: &str) -> Option<i32> {
        let children = format!("/proc/{0}/task/{0}/children", self.child.id());
        let children = std::fs::read_to_string(children).unwrap_or_default();
        let is = |pid: &&str| {
            let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.split('\0').nth(1) == Some(name)
        };
        children.split_whitespace().find(is).and_then(|pid| pid.parse().ok())
    }

    pub(crate) fn id(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a process id")
    }

    /// Sends a signal and waits for the end.
    pub(crate) fn end(mut self, signal: i32) -> (ExitStatus, PathBuf, Option<tempfile::TempDir>) {
        send_signal(self.id(), signal);
        let status = wait(&mut self.child);
        (status, self.data.clone(), self.folder.take())
    }
}

impl Drop for Hearth {
    fn drop(&mut self) {
        // Its children watch it and stop too.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("hearth logged:\n{}", self.log());
        }
    }
}

/// Waits for a process, not for ever.
pub(crate) fn wait(child: &mut Child) -> ExitStatus {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(status) = child.try_wait().expect("waits") {
            return status;
        }
        if Instant::now() > end {
            let _ = child.kill();
            panic!("the process does not end");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Polls until `done` gives something.
pub(crate) fn eventually<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = done() {
            return value;
        }
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub(crate) fn send_signal(pid: i32, signal: i32) {
    let pid = rustix::process::Pid::from_raw(pid).expect("a process id");
    let signal = rustix::process::Signal::from_named_raw(signal).expect("a signal");
    rustix::process::kill_process(pid, signal).expect("the signal is sent");
}

fn log_path(data: &Path) -> PathBuf {
    data.with_extension("log")
}

fn log_of(data: &Path) -> String {
    std::fs::read_to_string(log_path(data)).unwrap_or_default()
}
