//! Row 92: no secret is logged, at whatever level, by whichever part, in whatever clothes.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "helpers of tests fail as tests do")]

mod common;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use common::{Hearth, Options};
use hearth_tools::client::inline::{NS_FAST, NS_SM, Token};
use hearth_tools::client::{Client, ClientError};
use hearth_tools::scram::{Binding, Hash};

const NS_SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
const AGENT: &str = "<user-agent id='d4565fa7-4d72-4749-b3d3-740edbf87770'><software>Pen</software></user-agent>";

/// Each password is said in one place only.
const BY_OPERATOR: &str = "canary-operator-4f1d";
const CHANGED_BY_OPERATOR: &str = "canary-changed-9c2e";
const CHANGED_BY_USER: &str = "canary-user-77ab";
const REGISTERED: &str = "canary-registered-03bd";
const WRONG: &str = "canary-wrong-e5f6";

fn stranger(hearth: &Hearth) -> Client {
    let mut client = Client::connect(&hearth.server()).expect("connects");
    client.open().expect("opens");
    client.starttls().expect("STARTTLS");
    client
}

fn plain(hearth: &Hearth, user: &str, password: &str) -> String {
    let mut client = stranger(hearth);
    let message = BASE64.encode(format!("\0{user}\0{password}"));
    client.send(&format!("<auth xmlns='{NS_SASL}' mechanism='PLAIN'>{message}</auth>")).expect("sent");
    client.receive_element().expect("an answer").name
}

/// The clothes of a secret: as it is, in base64 by itself and behind some bytes, in hexadecimal, in JSON's numbers.
fn clothes(secret: &str) -> Vec<String> {
    let bytes = secret.as_bytes();
    let mut all = vec![secret.to_owned()];
    for before in 0..3 {
        // What of the base64 depends on the secret alone, wherever in a message it stands.
        let text = BASE64.encode([&vec![b'x'; before][..], bytes].concat());
        let inner =
            text.trim_end_matches('=').get(4..).map(|text| text.get(..text.len() - 2).unwrap_or(text).to_owned());
        all.extend(inner);
    }
    all.push(bytes.iter().map(|byte| format!("{byte:02x}")).collect());
    all.push(bytes.iter().map(u8::to_string).collect::<Vec<_>>().join(", "));
    all
}

#[test]
fn threat_092_no_log_of_any_level_has_a_secret() {
    let hearth = Hearth::start(&Options { arguments: &["--log", "trace"], ..Options::default() });
    let mut secrets: Vec<String> =
        [BY_OPERATOR, CHANGED_BY_OPERATOR, CHANGED_BY_USER, REGISTERED, WRONG].map(str::to_owned).into();
    let mut said = String::new();
    let mut ctl = |arguments: &[&str], input: &str| {
        let done = hearth.ctl(arguments, input);
        said.push_str(&String::from_utf8_lossy(&done.stdout));
        said.push_str(&String::from_utf8_lossy(&done.stderr));
        assert!(done.status.success(), "{arguments:?}: {said}");
    };
    ctl(&["log", "set", "trace"], "");
    ctl(&["user", "add", "ada@example.org", "--password-stdin"], BY_OPERATOR);
    // Every mechanism, right and wrong.
    assert_eq!(plain(&hearth, "ada", BY_OPERATOR), "success");
    assert_eq!(plain(&hearth, "ada", WRONG), "failure");
    for hash in [Hash::Sha1, Hash::Sha256, Hash::Sha512] {
        for bound in [false, true] {
            let mut client = stranger(&hearth);
            let binding = if bound { client.tls_exporter().expect("data") } else { Binding::None };
            client.authenticate(hash, "ada", BY_OPERATOR, &binding).expect("logs in");
            let mut client = stranger(&hearth);
            let refused = client.authenticate(hash, "ada", WRONG, &Binding::None);
            assert!(matches!(refused, Err(ClientError::Refused(_))), "{refused:?}");
        }
    }
    // A token, its use, and a session to resume with it.
    let mut client = stranger(&hearth);
    let along = format!("{AGENT}<request-token xmlns='{NS_FAST}' mechanism='HT-SHA-256-NONE'/>");
    let success = client.authenticate_inline(Hash::Sha256, ("ada", BY_OPERATOR), &Binding::None, &along);
    let Token { token, .. } = Token::of(&success.expect("logs in")).expect("a token");
    client.bind(Some("desk")).expect("binds");
    client.send(&format!("<enable xmlns='{NS_SM}' resume='true'/>")).expect("sent");
    let previd = client.receive_element().expect("enabled").attr("id").expect("an id").to_owned();
    drop(client);
    let mut client = stranger(&hearth);
    let along = format!("{AGENT}<fast xmlns='{NS_FAST}'/><resume xmlns='{NS_SM}' previd='{previd}' h='0'/>");
    client.authenticate_by_token("HT-SHA-256-NONE", ("ada", &token), &Binding::None, &along).expect("goes on");
    let bad = format!("{token}x");
    let refused = stranger(&hearth).authenticate_by_token("HT-SHA-256-NONE", ("ada", &bad), &Binding::None, &along);
    assert!(refused.is_err());
    secrets.extend([token, previd]);
    // Other passwords: by the operator, by the user.
    ctl(&["user", "password", "ada@example.org", "--password-stdin"], CHANGED_BY_OPERATOR);
    let mut client = Client::login(&hearth.server(), "ada", CHANGED_BY_OPERATOR, Some("desk")).expect("logs in");
    let change = |password: &str| {
        format!(
            "<iq id='p' type='set'><query xmlns='jabber:iq:register'><username>ada</username>\
             <password>{password}</password></query></iq>"
        )
    };
    client.send(&change(CHANGED_BY_USER)).expect("sent");
    assert_eq!(client.receive_element().expect("an answer").attr("type"), Some("result"));
    // One for somebody else is refused, with the password in it.
    client.send(&change(WRONG).replace(">ada<", ">grace<")).expect("sent");
    assert_eq!(client.receive_element().expect("an answer").attr("type"), Some("error"));
    // An account of one's own.
    ctl(&["domain", "set", "example.org", "registration", "on"], "");
    let mut client = stranger(&hearth);
    client.send(&change(REGISTERED).replace(">ada<", ">grace<")).expect("sent");
    assert_eq!(client.receive_element().expect("an answer").attr("type"), Some("result"));
    ctl(&["audit"], "");

    let log = format!("{}{said}", hearth.log());
    assert!(log.contains("TRACE") || log.contains("DEBUG"), "it says more than usual: {}", log.len());
    for secret in &secrets {
        for text in clothes(secret) {
            assert!(!log.contains(&text), "{secret} is logged as {text}");
        }
    }
    // And this would have been seen.
    assert!(clothes(WRONG).iter().any(|text| BASE64.encode(format!("\0ada\0{WRONG}")).contains(text.as_str())));
}
