//! The process that starts core and edge, watches them and stops them.

use super::part::Part;
use super::{Args, Exit, Failure, banner};
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// How long a part may take to stop before it is killed. The core stores what it put off.
const STOP_TIME: Duration = Duration::from_secs(20);
/// Deaths of core and edge within [`DEATHS_TIME`] after which trying again makes no sense.
const DEATHS_MAX: usize = 5;
const DEATHS_TIME: Duration = Duration::from_secs(60);

enum News {
    Signal(i32),
    /// What a child said behind `ready`.
    Ready(Part, String),
}

/// Runs both parts until a signal stops them.
pub(super) fn run(
    args: &Args,
    arguments: &[String],
    out: &mut dyn Write,
    errors: &mut dyn Write,
) -> Result<Exit, Failure> {
    args.check()?;
    let (sender, news) = channel();
    watch_signals(sender.clone())?;
    let mut supervisor = Supervisor {
        args,
        arguments,
        out,
        errors,
        sender,
        news,
        core: None,
        edge: None,
        announced: false,
        deaths: VecDeque::new(),
        stopping: None,
    };
    let exit = supervisor.supervise();
    // Whatever happened, nothing stays behind.
    for part in [Part::Edge, Part::Core] {
        if let Some(mut child) = supervisor.slot(part).take() {
            let _ = child.kill().and_then(|()| child.wait());
        }
    }
    exit
}

fn watch_signals(sender: Sender<News>) -> Result<(), Failure> {
    let signals = signal_hook::iterator::Signals::new([SIGCHLD, SIGINT, SIGTERM, SIGHUP]);
    let mut signals = signals.map_err(Failure::system("watch signals"))?;
    std::thread::Builder::new()
        .name("signals".to_owned())
        .stack_size(64 * 1024)
        .spawn(move || signals.forever().try_for_each(|signal| sender.send(News::Signal(signal))))
        .map_err(Failure::system("start a thread"))?;
    Ok(())
}

struct Supervisor<'a> {
    args: &'a Args,
    arguments: &'a [String],
    out: &'a mut dyn Write,
    errors: &'a mut dyn Write,
    sender: Sender<News>,
    news: Receiver<News>,
    core: Option<Child>,
    edge: Option<Child>,
    /// Both were ready once.
    announced: bool,
    /// When a part died unasked.
    deaths: VecDeque<Instant>,
    /// With which code it ends, and when the part that is stopping now is killed.
    stopping: Option<(Exit, Instant)>,
}

impl Supervisor<'_> {
    fn supervise(&mut self) -> Result<Exit, Failure> {
        self.start(Part::Core)?;
        loop {
            match self.next_news() {
                Some(News::Signal(SIGCHLD)) => self.look_after_children()?,
                // Of a terminal it means that the user has gone, else that certificates are to be read again.
                Some(News::Signal(SIGHUP)) if !std::io::stdin().is_terminal() && self.stopping.is_none() => {
                    self.tell(Part::Edge, Signal::HUP);
                }
                Some(News::Signal(_)) => self.stop(Exit::DONE),
                Some(News::Ready(Part::Core, _)) if self.edge.is_none() && self.stopping.is_none() => {
                    self.start(Part::Edge)?;
                }
                Some(News::Ready(Part::Edge, addresses)) if !self.announced => {
                    self.announced = true;
                    // Whoever closed our output still gets a server.
                    let _ = self.out.write_all(banner::text(self.args, &addresses).as_bytes());
                    let _ = self.out.flush();
                }
                Some(News::Ready(..)) => {}
                None => self.kill_what_hangs(),
            }
            if let (Some((exit, _)), None, None) = (self.stopping, &self.core, &self.edge) {
                return Ok(exit);
            }
        }
    }

    fn next_news(&self) -> Option<News> {
        let Some((_, until)) = self.stopping else { return self.news.recv().ok() };
        self.news.recv_timeout(until.saturating_duration_since(Instant::now())).ok()
    }

    fn slot(&mut self, part: Part) -> &mut Option<Child> {
        match part {
            Part::Core => &mut self.core,
            Part::Edge => &mut self.edge,
        }
    }

    fn start(&mut self, part: Part) -> Result<(), Failure> {
        let mut command = part.command(self.arguments)?;
        // A group of its own: Ctrl-C reaches this process alone, and it stops them in order.
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0).spawn();
        let mut child = child.map_err(Failure::system("start a process"))?;
        let said = child.stdout.take();
        *self.slot(part) = Some(child);
        let sender = self.sender.clone();
        std::thread::Builder::new()
            .name(format!("{}-ready", part.name()))
            .stack_size(64 * 1024)
            .spawn(move || {
                let mut line = String::new();
                let read = said.map(|said| BufReader::new(said).read_line(&mut line));
                if let (Some(Ok(_)), Some(what)) = (read, line.trim_end().strip_prefix("ready")) {
                    let _ = sender.send(News::Ready(part, what.trim().to_owned()));
                }
            })
            .map_err(Failure::system("start a thread"))?;
        Ok(())
    }

    /// Begins to stop: the edge first, so that clients are told while the core still settles what they sent.
    /// Asked once more, it does not wait.
    fn stop(&mut self, exit: Exit) {
        let again = self.stopping.is_some();
        let until = if again { Instant::now() } else { Instant::now() + STOP_TIME };
        self.stopping = Some((self.stopping.map_or(exit, |(exit, _)| exit), until));
        if !again {
            self.tell(if self.edge.is_some() { Part::Edge } else { Part::Core }, Signal::TERM);
        }
    }

    fn tell(&mut self, part: Part, signal: Signal) {
        let pid = self.slot(part).as_ref().and_then(|child| i32::try_from(child.id()).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // It may have ended by itself; then its end is on its way to us.
            let _ = kill_process(pid, signal);
        }
    }

    fn kill_what_hangs(&mut self) {
        let Some((exit, _)) = self.stopping else { return };
        for part in [Part::Edge, Part::Core] {
            if self.slot(part).is_some() {
                self.complain(&format!("the {} does not stop; it is killed", part.name()));
                self.tell(part, Signal::KILL);
            }
        }
        self.stopping = Some((exit, Instant::now() + STOP_TIME));
    }

    fn complain(&mut self, line: &str) {
        let _ = writeln!(self.errors, "hearth: {line}");
    }

    fn look_after_children(&mut self) -> Result<(), Failure> {
        for part in [Part::Edge, Part::Core] {
            let ended = self.slot(part).as_mut().and_then(|child| child.try_wait().transpose());
            let Some(status) = ended.transpose().map_err(Failure::system("wait for a process"))? else { continue };
            *self.slot(part) = None;
            self.ended(part, status)?;
        }
        Ok(())
    }

    fn ended(&mut self, part: Part, status: ExitStatus) -> Result<(), Failure> {
        if let Some((exit, _)) = self.stopping {
            if part == Part::Edge && self.core.is_some() {
                self.stopping = Some((exit, Instant::now() + STOP_TIME));
                self.tell(Part::Core, Signal::TERM);
            }
            return Ok(());
        }
        if !self.announced {
            // It could not start, and has said why.
            let code = status.code().and_then(|code| u8::try_from(code).ok()).filter(|code| *code != 0);
            let Some(code) = code else {
                let message = format!("the {} died at its start: {}", part.name(), how(status));
                return Err(Failure::new(Exit::DIED, message));
            };
            self.stop(Exit(code));
            return Ok(());
        }
        let now = Instant::now();
        self.deaths.push_back(now);
        self.deaths.retain(|death| now.duration_since(*death) < DEATHS_TIME);
        if self.deaths.len() >= DEATHS_MAX {
            self.complain(&format!("the {} died again ({}): giving up", part.name(), how(status)));
            self.stop(Exit::DIED);
            return Ok(());
        }
        self.complain(&format!("the {} died ({}): starting it again", part.name(), how(status)));
        self.start(part)
    }
}

fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "for no known reason".to_owned(),
    }
}
