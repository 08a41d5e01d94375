//! The daemon as an operator meets it: one clear line and a distinct exit code for each thing that is wrong.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a fixture fails its test")]

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

fn daemon() -> Command {
    Command::new(env!("CARGO_BIN_EXE_hearth-connmgr"))
}

/// Exit code, and what it said of the error without log lines.
fn run(arguments: &[&str]) -> (i32, String) {
    let output = daemon().args(arguments).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap(), text)
}

fn config(folder: &Path, text: &str) -> String {
    let path = folder.join("connmgr.toml");
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn each_mistake_has_its_line_and_its_code() {
    let folder = tempfile::tempdir().unwrap();
    let (code, text) = run(&["--confg", "x"]);
    assert!(code == 2 && text.contains("--confg"), "{code} {text}");
    let (code, text) = run(&["--config", "/nonexistent/connmgr.toml"]);
    assert!(code == 3 && text.contains("/nonexistent/connmgr.toml: cannot read"), "{code} {text}");
    let path = config(folder.path(), "nam = 'x'\n");
    let (code, text) = run(&["--config", &path, "--check"]);
    assert!(code == 3 && text.contains("line 1: unknown field `nam`") && text.lines().count() == 1, "{code} {text}");

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let tls = folder.path().join("tls");
    let listen = format!("[[listen]]\naddress = '{address}'\ntls = 'starttls'\n");
    let path = config(folder.path(), &format!("{listen}[self_signed]\nfolder = '{}'\n", tls.display()));
    let (code, text) = run(&["--config", &path]);
    assert!(code == 4 && text.contains(&format!("cannot listen on {address}: the port is in use")), "{code} {text}");

    let path = config(folder.path(), &format!("{listen}[self_signed]\nfolder = '/dev/null/tls'\n"));
    let (code, text) = run(&["--config", &path]);
    assert!(code == 5 && text.contains("/dev/null/tls"), "{code} {text}");
    let certificate = "[[certificate]]\ndomain = 'a.example'\nchain = '/nonexistent.pem'\nkey = '/nonexistent.key'\n";
    let path = config(folder.path(), certificate);
    let (code, text) = run(&["--config", &path, "--check"]);
    assert!(code == 5 && text.contains("/nonexistent.pem: cannot read"), "{code} {text}");

    let (code, text) = run(&["--config", concat!(env!("CARGO_MANIFEST_DIR"), "/connmgr.toml"), "--check"]);
    assert_eq!((code, text.as_str()), (0, ""));
    let help = daemon().arg("--help").output().unwrap();
    assert!(help.status.success() && String::from_utf8(help.stdout).unwrap().contains("--config connmgr.toml --check"));
}

#[test]
fn a_signal_ends_it_cleanly() {
    for signal in ["TERM", "INT"] {
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "core = 'unix:{0}/none.sock'\n[[listen]]\naddress = '127.0.0.1:0'\ntls = 'direct'\n\
             [self_signed]\nfolder = '{0}/tls'\n[log]\nformat = 'json'\n",
            folder.path().display()
        );
        let mut child =
            daemon().args(["--config", &config(folder.path(), &text)]).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let ready = lines.find(|line| line.as_ref().is_ok_and(|line| line.contains("\"ready\""))).unwrap().unwrap();
        assert!(ready.starts_with('{') && ready.ends_with('}'), "{ready}");
        Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status().unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0));
        assert!(lines.any(|line| line.unwrap().contains("\"stopped\"")));
    }
}
