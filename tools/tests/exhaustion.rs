//! What strangers cost a whole server: both daemons as processes, configured as they come.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "helpers of tests fail as tests do")]

mod common;

use common::{Hearth, Options};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Bytes of a process's own memory.
fn pss_bytes(pid: i32) -> u64 {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("the process runs");
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).expect("a line");
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().expect("a number") * 1024
}

#[test]
fn threat_004_a_thousand_slow_strangers_cost_what_they_sent() {
    let hearth = Hearth::start(&Options::default());
    hearth.add("ada@example.org");
    let edge = hearth.part("edge").expect("an edge");
    let before = pss_bytes(edge);
    let header = "<stream:stream to='example.org' version='1.0' xmlns='jabber:client' \
                  xmlns:stream='http://etherx.jabber.org/streams'>";
    // Just below what ends a stream before login, and never whole.
    let endless = format!("{header}<auth xmlns='urn:x' a='{}", "x".repeat(8_000));
    let mut strangers: Vec<TcpStream> = (0..1_000)
        .map(|_| {
            let mut socket = TcpStream::connect(hearth.starttls).expect("connects");
            socket.write_all(endless.as_bytes()).expect("sends");
            socket
        })
        .collect();
    std::thread::sleep(Duration::from_secs(1));
    let mut ada = hearth.login("ada", "meanwhile");
    ada.send("<iq type='get' id='p' to='example.org'><ping xmlns='urn:xmpp:ping'/></iq>").expect("sends");
    let answer = ada.receive_element().expect("an answer");
    assert_eq!(answer.attr("id"), Some("p"));
    let each = pss_bytes(edge).saturating_sub(before) / 1_000;
    println!("{each} bytes for each");
    assert!(each < 20 * 1024, "{each} bytes");
    // One that goes on ends with an error, the others stay.
    let one = strangers.first_mut().expect("one");
    one.write_all(&[b'x'; 400]).expect("sends");
    one.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    let mut text = String::new();
    one.read_to_string(&mut text).expect("an end");
    assert!(text.contains("<policy-violation "), "{text}");
}
