//! `hearthctl` against a running server: what it does, what it says, and its exit codes.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "helpers of tests fail as tests do"
)]

mod common;

use common::{Hearth, Options, PASSWORD};
use hearth_tools::client::{Client, ClientError};
use hearth_tools::xml::Item;
use serde_json::Value;
use std::process::Output;

fn code(done: &Output) -> i32 {
    done.status.code().unwrap_or(-1)
}

fn text(done: &Output) -> String {
    String::from_utf8_lossy(&done.stdout).into_owned()
}

fn json(done: &Output) -> Value {
    serde_json::from_slice(&done.stdout).unwrap_or_else(|e| panic!("{e}: {}", text(done)))
}

#[test]
fn accounts_come_change_and_go() {
    let hearth = Hearth::start(&Options::default());
    // Without a domain it is of the only one there is; a made password is one that works.
    let made = hearth.ctl(&["user", "add", "ada", "--generate", "--json"], "");
    assert_eq!(code(&made), 0);
    assert_eq!(json(&made)["account"], "ada@example.org");
    let password = json(&made)["password"].as_str().expect("a password").to_owned();
    let mut ada = Client::login(&hearth.server(), "ada", &password, Some("desk")).expect("ada logs in");

    let again = hearth.ctl(&["user", "add", "ada@example.org", "--generate"], "");
    assert_eq!((code(&again), text(&again).as_str()), (4, ""));
    assert!(String::from_utf8_lossy(&again.stderr).contains("next:"));

    hearth.add("Grace@Example.org");
    assert_eq!(text(&hearth.ctl(&["user", "list"], "")), "ada@example.org\ngrace@example.org\n");
    assert_eq!(json(&hearth.ctl(&["user", "list", "example.org", "--json"], "")).as_array().map(Vec::len), Some(2));

    // A name that would be taken for another's is refused, and why, unless it is meant: here a is Cyrillic.
    for (name, why) in [("\u{430}d\u{430}", "mixes letters"), ("\u{455}", "looks like s@example.org")] {
        hearth.ctl(&["user", "add", "s", "--generate"], "");
        let refused = hearth.ctl(&["user", "add", name, "--generate"], "");
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(code(&refused) != 0 && said.contains(why) && said.contains("--look-alike"), "{said}");
        assert_eq!(code(&hearth.ctl(&["user", "add", name, "--generate", "--look-alike"], "")), 0);
        assert_eq!(code(&hearth.ctl(&["user", "delete", name, "--yes"], "")), 0);
    }
    assert_eq!(code(&hearth.ctl(&["user", "delete", "s", "--yes"], "")), 0);

    // A new password ends the sessions that knew the old one.
    let changed = hearth.ctl(&["user", "password", "ada", "--password-stdin"], "another one\n");
    assert_eq!(code(&changed), 0);
    let end = ada.receive_until_closed().expect("her session ends");
    assert!(matches!(end.as_slice(), [Item::Element(_), Item::Close]), "{end:?}");
    let old = Client::login(&hearth.server(), "ada", &password, None);
    assert!(matches!(old, Err(ClientError::Refused(_))));
    Client::login(&hearth.server(), "ada", "another one", None).expect("the new password works");

    // Disabled, she is told so and her password is still the right one; who guesses is told nothing.
    let mut ada = Client::login(&hearth.server(), "ada", "another one", None).expect("logs in");
    assert_eq!(code(&hearth.ctl(&["user", "disable", "ada", "--reason", "on leave"], "")), 0);
    let end = ada.receive_until_closed().expect("her session ends");
    assert!(
        matches!(end.as_slice(), [Item::Element(error), Item::Close] if error.to_string().contains("account disabled"))
    );
    for (password, wanted) in [("another one", "account-disabled"), ("a guess", "not-authorized")] {
        let refused = Client::login(&hearth.server(), "ada", password, None);
        assert!(matches!(refused, Err(ClientError::Refused(condition)) if condition == wanted), "{wanted}");
    }
    let shown = text(&hearth.ctl(&["user", "show", "ada"], ""));
    assert!(shown.contains("disabled since") && shown.contains("on leave"), "{shown}");
    assert_eq!(code(&hearth.ctl(&["user", "enable", "ada"], "")), 0);
    Client::login(&hearth.server(), "ada", "another one", None).expect("logs in again");

    // Nobody is asked without a terminal, so nothing is deleted by accident.
    assert_eq!(code(&hearth.ctl(&["user", "delete", "ada"], "")), 2);
    assert_eq!(code(&hearth.ctl(&["user", "delete", "ada", "--yes"], "")), 0);
    assert_eq!(code(&hearth.ctl(&["user", "delete", "ada", "--yes"], "")), 5);
    assert!(Client::login(&hearth.server(), "ada", "another one", None).is_err());
    assert_eq!(text(&hearth.ctl(&["user", "list"], "")), "grace@example.org\n");
}

#[test]
fn what_cannot_be_has_its_code() {
    let hearth = Hearth::start(&Options::default());
    hearth.add("ada@example.org");
    for (arguments, input, wanted) in [
        (&["user", "add", "bob@elsewhere.example", "--generate"][..], "", 5),
        (&["user", "add", "b ob@example.org", "--generate"], "", 6),
        (&["user", "add", "bob@example.org", "--password-stdin"], "", 2),
        (&["user", "add", "bob@example.org", "--password-stdin", "--generate"], "x", 2),
        (&["user", "add", "bob@example.org", "--password-stdin"], "\u{7}", 6),
        (&["user", "password", "nobody@example.org", "--generate"], "", 5),
        (&["sessions", "kick", "ada@example.org/desk"], "", 5),
        (&["sessions", "kick", "@@"], "", 6),
        (&["status", "--socket", "no such socket"], "", 3),
        (&["frob"], "", 2),
    ] {
        let done = hearth.ctl(arguments, input);
        let complained = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(code(&done), wanted, "{arguments:?}: {complained}");
        assert!(complained.contains("next: "), "{arguments:?}: {complained}");
        // Scripts get the same, as JSON.
        let done = hearth.ctl(&[arguments, &["--json"]].concat(), input);
        assert_eq!(code(&done), wanted, "{arguments:?}");
        assert!(json(&done)["error"]["next"].is_string(), "{arguments:?}: {}", text(&done));
    }
}

#[test]
fn sessions_are_seen_and_ended() {
    let hearth = Hearth::start(&Options::default());
    hearth.add("ada@example.org");
    hearth.add("grace@example.org");
    let mut desk = hearth.login("ada", "desk");
    let _phone = hearth.login("ada", "phone");
    let _lab = hearth.login("grace", "lab");
    desk.send("<presence><priority>7</priority></presence>").expect("sends");
    desk.receive_element().expect("her own presence");

    let list = hearth.ctl(&["sessions", "list", "--json"], "");
    let mut jids: Vec<_> =
        json(&list).as_array().expect("a list").iter().map(|s| (s["jid"].clone(), s["priority"].clone())).collect();
    jids.sort_by_key(|(jid, _)| jid.to_string());
    let wanted = [("ada@example.org/desk", Value::from(7)), ("ada@example.org/phone", Value::Null)];
    let wanted = wanted.into_iter().chain([("grace@example.org/lab", Value::Null)]);
    assert_eq!(jids, wanted.map(|(jid, priority)| (Value::from(jid), priority)).collect::<Vec<_>>());
    assert_eq!(text(&hearth.ctl(&["sessions", "list", "grace@example.org"], "")).lines().count(), 2);
    let status = json(&hearth.ctl(&["status", "--json"], ""));
    assert_eq!((status["sessions"].as_u64(), status["storage"].as_str()), (Some(3), Some("ok")));

    let kicked = hearth.ctl(&["sessions", "kick", "ada@example.org/desk"], "");
    assert_eq!((code(&kicked), text(&kicked).as_str()), (0, "ada@example.org/desk: 1 session ended\n"));
    let end = desk.receive_until_closed().expect("her session ends");
    assert!(matches!(end.as_slice(), [Item::Element(_), Item::Close]), "{end:?}");
    assert_eq!(json(&hearth.ctl(&["sessions", "kick", "ada@example.org", "--json"], ""))["kicked"], 1);
    assert_eq!(text(&hearth.ctl(&["sessions", "list"], "")).lines().count(), 2);
    let lab = json(&hearth.ctl(&["sessions", "show", "grace@example.org/lab", "--json"], ""));
    assert_eq!((lab["edge"].as_str(), lab["received"].as_u64()), (Some("edge"), Some(0)));
    assert_eq!(code(&hearth.ctl(&["sessions", "show", "ada@example.org/desk"], "")), 5);
}

/// What was done stands in the audit log with who did it, and no secret stands anywhere.
#[test]
fn changes_are_audited() {
    let hearth = Hearth::start(&Options { domain: "example.org", arguments: &["--log", "trace"] });
    let canary = "canary-7c1f";
    let add = |name: &str| hearth.ctl(&["user", "add", name, "--password-stdin"], canary);
    assert_eq!((code(&add("ada")), code(&add("ada"))), (0, 4));
    assert_eq!(code(&hearth.ctl(&["user", "password", "ada", "--password-stdin"], &format!("{canary}-2"))), 0);
    Client::login(&hearth.server(), "ada", &format!("{canary}-2"), None).expect("the new password works");
    assert_eq!(code(&hearth.ctl(&["user", "list"], "")), 0);
    let audit = hearth.ctl(&["audit", "--json"], "");
    let lines: Vec<_> = json(&audit)
        .as_array()
        .expect("a list")
        .iter()
        .map(|line| {
            assert!(line["at"].as_str().is_some_and(|at| at.ends_with('Z')), "{line}");
            assert_eq!((&line["by"]["transport"], line["by"]["uid"].is_u64()), (&Value::from("unix"), true), "{line}");
            (line["command"].clone(), line["parameters"]["account"].clone(), line["outcome"].clone())
        })
        .collect();
    let ada = "ada@example.org";
    let wanted = [("user add", ada, "done"), ("user add", ada, "exists"), ("user password", ada, "done")];
    assert_eq!(lines, wanted.map(|(a, b, c)| (Value::from(a), Value::from(b), Value::from(c))));
    assert!(text(&hearth.ctl(&["audit", "--last", "1"], "")).contains("account=ada@example.org"));
    // A password in the wrong place is refused without being repeated in any log.
    let wrong = r#"{"protocol":1,"command":"user add","parameters":{"account":"a@b","password":["canary-7c1f"]}}"#;
    let mut socket = std::os::unix::net::UnixStream::connect(hearth.data.join("control.sock")).expect("connects");
    std::io::Write::write_all(&mut socket, format!("{wrong}\n").as_bytes()).expect("sends");
    let mut answer = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(socket), &mut answer).expect("it answers");
    assert!(answer.contains("bad_request") && !answer.contains("canary"), "{answer}");
    // The log is kept, so that the canary would be seen if it were there.
    assert!(hearth.log().contains("account_changed"), "{}", hearth.log());
    assert!(!hearth.log().contains("canary"));
    for file in std::fs::read_dir(&hearth.data).expect("the data folder").flatten() {
        let bytes = std::fs::read(file.path()).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&bytes).contains("canary"), "{}", file.path().display());
    }

    // What cannot be audited is not done.
    let log = hearth.data.join("audit.log");
    std::fs::remove_file(&log).and_then(|()| std::fs::create_dir(&log)).expect("in the way");
    let refused = add("bob");
    assert_eq!(code(&refused), 7);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("nothing was done"));
    assert_eq!(text(&hearth.ctl(&["user", "list"], "")), "ada@example.org\n");
}

#[test]
fn what_is_bounded_implemented_and_logged() {
    let hearth = Hearth::start(&Options::default());
    let limits = json(&hearth.ctl(&["limits", "--json"], ""));
    let named = |name: &str| limits.as_array().and_then(|rows| rows.iter().find(|row| row["limit"] == name).cloned());
    assert_eq!(named("roster_items_max").expect("a limit")["set_by"], "built in");
    assert_eq!(named("shards").expect("a setting")["value"], 1);
    assert!(text(&hearth.ctl(&["limits", "roster"], "")).lines().count() < limits.as_array().map_or(0, Vec::len));
    let features = text(&hearth.ctl(&["features", "example.org"], ""));
    assert!(features.contains("XEP-0077") && features.contains("jabber:iq:register"), "{features}");
    assert_eq!(code(&hearth.ctl(&["features", "elsewhere.example"], "")), 5);

    hearth.add("ada@example.org");
    assert!(!hearth.log().contains("logged_in"));
    assert_eq!(text(&hearth.ctl(&["log", "show"], "")), "level       warn\nconfigured  warn\n");
    assert_eq!(code(&hearth.ctl(&["log", "set", "debug"], "")), 0);
    hearth.login("ada", "desk");
    assert!(hearth.log().contains("logged_in"), "{}", hearth.log());
    assert_eq!(code(&hearth.ctl(&["log", "set", "loud"], "")), 6);
}

#[test]
fn several_domains() {
    let hearth = Hearth::start(&Options { domain: "a.example", arguments: &["--domain", "b.example"] });
    hearth.add("ada@a.example");
    hearth.add("ada@b.example");
    assert_eq!(text(&hearth.ctl(&["user", "list"], "")), "ada@a.example\nada@b.example\n");
    // Which of the two?
    assert_eq!(code(&hearth.ctl(&["user", "add", "bob", "--password-stdin"], PASSWORD)), 2);
    // One domain's account is a stranger on the other (threats: a stream that changes its domain).
    hearth.add("bob@b.example");
    assert!(matches!(hearth.try_login("bob", "x"), Err(ClientError::Refused(_))));
    let mut ada = hearth.login("ada", "x");
    ada.send("<message to='ada@b.example' type='chat'><body>over there</body></message>").expect("sends");
    let mut other = hearth.server();
    "b.example".clone_into(&mut other.domain);
    let mut there = Client::login(&other, "ada", PASSWORD, Some("y")).expect("the other ada logs in");
    there.send("<presence/>").expect("sends");
    there.receive_element().expect("her own presence");
    let message = there.receive_element().expect("the message");
    assert_eq!(message.attr("from"), Some("ada@a.example/x"));
}
