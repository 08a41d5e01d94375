//! The control socket: a JSON line there, a JSON line back; of what takes longer, lines of how far it is before.

use super::{Done, Exit, Failure, Request};
use hearth_core::commands::{Progress, Reply};
use hearth_core::control::Said;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A core that says nothing for longer is stuck: storage answers within seconds or says that it cannot.
const REPLY_TIMEOUT: Duration = Duration::from_secs(30);
/// A longer reply is no reply of ours: ten thousand sessions take about two megabytes.
const REPLY_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// A core that was there. Each command has a connection of its own, so that nobody waits for an operator
/// who thinks about a password.
pub(super) struct Core {
    path: PathBuf,
}

impl Core {
    /// Fails at once if no core is there, before anything is asked of the operator.
    pub(super) fn find(path: PathBuf) -> Result<Core, Failure> {
        connect(&path).map(|_| Core { path })
    }

    /// Sends a command and waits for its answer.
    pub(super) fn ask(&self, request: &Request) -> Result<Done, Failure> {
        self.ask_long(request, &mut |_| {})
    }

    /// The same; `progress` hears how far it is.
    pub(super) fn ask_long(&self, request: &Request, progress: &mut dyn FnMut(Progress)) -> Result<Done, Failure> {
        let mut socket = connect(&self.path)?;
        let mut line = serde_json::to_string(request)
            .map_err(|e| Failure::new(Exit::Failed, format!("cannot write the command: {e}"), "report this"))?;
        line.push('\n');
        socket.write_all(line.as_bytes()).map_err(|e| broken(&e))?;
        let mut reader = BufReader::new(socket);
        loop {
            let mut said = String::new();
            let read = reader.by_ref().take(REPLY_BYTES_MAX).read_line(&mut said).map_err(|e| broken(&e))?;
            if read == 0 {
                return Err(broken(&io::Error::from(io::ErrorKind::UnexpectedEof)));
            }
            match serde_json::from_str(&said) {
                Ok(Said::Progress { progress: far }) => progress(far),
                Ok(Said::Reply(Reply::Ok(done))) => return Ok(done),
                Ok(Said::Reply(Reply::Error(refused))) => return Err(refused.into()),
                Err(e) => {
                    let message = format!("the core's answer makes no sense: {e}");
                    return Err(Failure::new(Exit::Failed, message, "use the hearthctl of its release"));
                }
            }
        }
    }
}

fn connect(path: &Path) -> Result<UnixStream, Failure> {
    let socket = UnixStream::connect(path).map_err(|e| {
        let message = format!("{}: {}", path.display(), reason(&e));
        Failure::new(Exit::Unreachable, message, "start `hearth`, or name its data folder with --data DIR")
    })?;
    socket
        .set_read_timeout(Some(REPLY_TIMEOUT))
        .and_then(|()| socket.set_write_timeout(Some(REPLY_TIMEOUT)))
        .map_err(|e| broken(&e))?;
    Ok(socket)
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no core runs there".to_owned(),
        io::ErrorKind::ConnectionRefused => "no core answers there".to_owned(),
        io::ErrorKind::PermissionDenied => "not yours to open; run as the server's user".to_owned(),
        _ => error.to_string(),
    }
}

fn broken(error: &io::Error) -> Failure {
    let what = match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            format!("no answer within {} seconds", REPLY_TIMEOUT.as_secs())
        }
        io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe => "the core closed the connection".to_owned(),
        _ => error.to_string(),
    };
    Failure::new(Exit::Failed, what, "see the core's log, then try again; `hearthctl status` shows whether it lives")
}
