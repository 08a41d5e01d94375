//! SIGHUP and SIGTERM, on the daemon itself.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a fixture fails its test")]
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the world around a core has threads and clocks"
)]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

struct Daemon {
    child: Child,
    log: Arc<Mutex<String>>,
    folder: tempfile::TempDir,
}

impl Daemon {
    fn start() -> Daemon {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("core.toml");
        std::fs::write(&config, Daemon::text(&folder, "")).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_hearth-core"))
            .arg("--config")
            .arg(&config)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let (lines, into) = (BufReader::new(child.stderr.take().unwrap()).lines(), Arc::clone(&log));
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                into.lock().unwrap().push_str(&format!("{line}\n"));
            }
        });
        let daemon = Daemon { child, log, folder };
        daemon.wait_for(0, "event=\"ready\"");
        daemon
    }

    fn text(folder: &tempfile::TempDir, more: &str) -> String {
        format!("data = '{}/data'\n{more}", folder.path().display())
    }

    /// Waits for this in the log, from a place on.
    fn wait_for(&self, from: usize, says: &str) {
        let end = Instant::now() + Duration::from_secs(20);
        while !self.log.lock().unwrap()[from..].contains(says) {
            assert!(Instant::now() < end, "never: {says}\n{}", self.log.lock().unwrap());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    fn reload(&self, more: &str, says: &str) {
        let before = self.log.lock().unwrap().len();
        std::fs::write(self.folder.path().join("core.toml"), Daemon::text(&self.folder, more)).unwrap();
        self.signal("HUP");
        self.wait_for(before, says);
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_good_file_is_taken_and_a_bad_one_changes_nothing() {
    let mut daemon = Daemon::start();
    daemon.reload("[log]\nlevel = 'error'\n", "event=\"reload\"");
    // Not heard at the new level; refusals are.
    daemon.reload("shards = 0\n", "shards = 0: expected 1 to");
    daemon.reload("colour = 3\n[log]\nlevel = 'debug'\n", "colour");
    assert_eq!(daemon.log.lock().unwrap().matches("event=\"reload\"").count(), 1);
    daemon.reload("shards = 2\n[log]\nlevel = 'info'\n", "event=\"restart_needed\" key=\"shards\"");
    assert!(daemon.child.try_wait().unwrap().is_none());
}

#[test]
fn a_signal_ends_it_cleanly() {
    for signal in ["TERM", "INT"] {
        let mut daemon = Daemon::start();
        daemon.signal(signal);
        let start = Instant::now();
        assert_eq!(daemon.child.wait().unwrap().code(), Some(0));
        assert!(start.elapsed() < Duration::from_secs(5), "nobody is there to wait for");
        let left = |name: &str| daemon.folder.path().join("data").join(name).exists();
        assert!(!left("control.sock") && !left("link.sock") && left("hearth.redb"));
    }
}
