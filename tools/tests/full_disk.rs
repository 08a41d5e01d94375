//! A whole server on a small disk that runs full: what is refused, what goes on, and that nothing is lost.
//! Mounts a file system of its own in memory, which needs root.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "helpers of tests fail as tests do"
)]

mod common;

use common::{Hearth, Options, eventually};
use hearth_tools::client::Client;
use hearth_tools::xml::{CLIENT, Element};
use serde_json::Value;
use signal_hook::consts::SIGKILL;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

const NS_STANZAS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";

/// A disk of 40 MiB. It goes when this does.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> SmallDisk {
        std::fs::create_dir(at).expect("a folder");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=40m,mode=700", "hearth-test"]).arg(at);
        let done = mount.output().expect("mount runs");
        let why = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "this test mounts a tmpfs and must run as root: {why}");
        SmallDisk(at.to_owned())
    }

    /// Takes all that is left.
    fn fill(&self) {
        let mut file = File::create(self.0.join("filler")).expect("a file");
        for size in [1 << 20, 1 << 12, 1] {
            let block = vec![7; size];
            while file.write_all(&block).is_ok() {}
        }
    }

    fn free(&self) {
        std::fs::remove_file(self.0.join("filler")).expect("the filler goes");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let done = Command::new("umount").arg("-l").arg(&self.0).status();
        assert!(done.is_ok_and(|status| status.success()) || std::thread::panicking(), "the disk is not unmounted");
    }
}

/// A client, and the numbers of its messages that were refused.
struct Sender {
    client: Client,
    pings: u32,
    refused: BTreeSet<u32>,
}

impl Sender {
    fn say(&mut self, number: u32, to: &str) {
        let text = "text ".repeat(100);
        let message = format!("<message id='{number}' to='{to}' type='chat'><body>{number} {text}</body></message>");
        self.client.send(&message).expect("sent");
        self.ping();
    }

    /// Asks the server and takes all that comes before the answer.
    fn ping(&mut self) {
        self.pings += 1;
        let id = format!("ping{}", self.pings);
        let ping = format!("<iq type='get' id='{id}' to='example.org'><ping xmlns='urn:xmpp:ping'/></iq>");
        self.client.send(&ping).expect("sent");
        loop {
            let got = self.client.receive_element().expect("the server answers");
            if got.attr("id") == Some(&id) {
                assert_eq!(got.attr("type"), Some("result"), "{got}");
                return;
            }
            self.take(&got);
        }
    }

    fn take(&mut self, got: &Element) {
        if !got.is(CLIENT, "message") {
            return;
        }
        let error = got.child(CLIENT, "error").unwrap_or_else(|| panic!("no error: {got}"));
        assert_eq!(error.attr("type"), Some("wait"), "{got}");
        assert!(error.child(NS_STANZAS, "resource-constraint").is_some(), "{got}");
        self.refused.insert(number(got));
    }
}

fn number(message: &Element) -> u32 {
    message.attr("id").and_then(|id| id.parse().ok()).unwrap_or_else(|| panic!("no number: {message}"))
}

/// The next message to a client, whatever else comes.
fn next_message(client: &mut Client) -> Element {
    loop {
        let got = client.receive_element().expect("a message");
        if got.is(CLIENT, "message") {
            return got;
        }
    }
}

fn status(hearth: &Hearth) -> Value {
    let done = hearth.ctl(&["status", "--json"], "");
    serde_json::from_slice(&done.stdout).unwrap_or_else(|e| panic!("{e}: {done:?}"))
}

#[test]
fn full_disk_refuses_messages_and_recovers_by_itself() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data = folder.path().join("data");
    let disk = SmallDisk::mount(&data);
    let hearth = Hearth::start_in(data.clone(), None, &Options::default());
    for name in ["ada", "bob", "carol", "dave"] {
        hearth.add(&format!("{name}@example.org"));
    }
    let client = hearth.login("ada", "desk");
    let mut ada = Sender { client, pings: 0, refused: BTreeSet::new() };
    let mut bob = hearth.login("bob", "phone");
    bob.send("<presence/>").expect("sent");
    let mut sent = 0;
    let mut say = |ada: &mut Sender, to: &str| {
        sent += 1;
        ada.say(sent, to);
        sent
    };
    for _ in 0..5 {
        say(&mut ada, "carol@example.org");
    }
    let first = say(&mut ada, "bob@example.org");
    assert_eq!(number(&next_message(&mut bob)), first);
    assert_eq!((status(&hearth)["storage"].as_str(), ada.refused.len()), (Some("ok"), 0));

    disk.fill();
    // What is left of a page still takes a few.
    eventually("a message is refused", || {
        say(&mut ada, "carol@example.org");
        (!ada.refused.is_empty()).then_some(())
    });
    let degraded = eventually("it says so", || Some(status(&hearth)).filter(|status| status["storage"] == "full"));
    assert!(degraded["storage_next"].as_str().is_some_and(|next| next.contains("make room")), "{degraded}");
    assert!(degraded["storage_since"].is_u64(), "{degraded}");
    assert!(!data.join("hearth.reserve").exists());
    let late = say(&mut ada, "bob@example.org");
    ada.ping();
    assert!(ada.refused.contains(&late));

    // What needs no disk goes on, and what an operator needs.
    ada.client.send("<presence to='bob@example.org/phone'><status>still here</status></presence>").expect("sent");
    let presence = eventually("presence", || {
        let got = bob.receive_element().expect("presence, and no message");
        assert!(!got.is(CLIENT, "message"), "refused, and delivered: {got}");
        got.child(CLIENT, "status").map(Element::text)
    });
    assert_eq!(presence, "still here");
    let mut dave = hearth.login("dave", "web");
    // So often that what they are written to and in grows by pages.
    for word in ["enable", "disable"].into_iter().cycle().skip(1).take(41) {
        let done = hearth.ctl(&["user", word, "dave@example.org"], "");
        assert!(done.status.success(), "{word}: {done:?}");
    }
    dave.receive_until_closed().expect("his session ends");
    let mut web = hearth.login("carol", "web");
    let done = hearth.ctl(&["sessions", "kick", "carol@example.org/web"], "");
    assert!(done.status.success(), "{done:?}");
    web.receive_until_closed().expect("her session ends");

    disk.free();
    eventually("it is well again", || (status(&hearth)["storage"] == "ok").then_some(()));
    assert!(data.join("hearth.reserve").exists());
    let refused = ada.refused.len();
    let last = say(&mut ada, "bob@example.org");
    assert_eq!(number(&next_message(&mut bob)), last);
    for _ in 0..3 {
        say(&mut ada, "carol@example.org");
    }
    ada.ping();
    assert_eq!(ada.refused.len(), refused);
    let log = hearth.log();
    assert!(log.contains("storage_degraded") && log.contains("storage_recovered"), "{log}");

    // Dead at once, and started again: all that was not refused is there, once and in order.
    let (.., keep) = hearth.end(SIGKILL);
    assert!(keep.is_none());
    let hearth = Hearth::start_in(data, None, &Options::default());
    assert!(hearth.try_login("dave", "web").is_err(), "disabled while the disk was full");
    let mut carol = hearth.login("carol", "desk");
    carol.send("<presence/>").expect("sent");
    let to_bob = [first, late, last];
    let expected: Vec<u32> =
        (1..=sent).filter(|number| !ada.refused.contains(number) && !to_bob.contains(number)).collect();
    let got: Vec<u32> = expected.iter().map(|_| number(&next_message(&mut carol))).collect();
    assert_eq!(got, expected);
    carol.send("<iq type='get' id='end' to='example.org'><ping xmlns='urn:xmpp:ping'/></iq>").expect("sent");
    let after = eventually("the answer", || {
        carol.receive_element().ok().filter(|got| got.is(CLIENT, "message") || got.attr("id") == Some("end"))
    });
    assert!(after.is(CLIENT, "iq"), "one more: {after}");
    drop(hearth);
    drop(disk);
}
