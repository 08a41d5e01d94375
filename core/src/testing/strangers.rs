//! Rows 32 and 36, 71, 73: what a stranger learns, and what anybody's questions do.
//!
//! An account that is nobody's contact answers whatever it is sent as one that does not exist, byte by byte but for its
//! address. What a standard tells all the same is told: a name that is taken cannot be registered (XEP-0077 §3.1), a vCard is
//! shown to whoever asks (XEP-0054), who lists itself is found (XEP-0055), and a message that names a resource reaches it
//! (RFC 6121 §8.5.3.1). How long an answer takes is not compared.

use super::{Client, Core};
use crate::features::{self, Scope};
use crate::limits;
use crate::random::{Random, SeededRandom};
use hearth_wire::stanza::StanzaType;

const ASKER: &str = "eve@example.org/desk";

/// Namespace and element of every question that is served, each once, and one that is not.
fn questions() -> Vec<(&'static str, &'static str)> {
    let served = features::ALL.iter().flat_map(|feature| feature.iq).map(|handler| (handler.ns, handler.element));
    let mut all: Vec<_> = served.chain([("urn:example:unknown", "x")]).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// What may be asked of somebody who is no contact; `@` stands for the bare address.
fn stanzas() -> Vec<String> {
    let mut all = Vec::new();
    for to in ["@", "@/desk"] {
        for ty in ["chat", "normal", "groupchat", "headline", "error", "unknown"] {
            for payload in ["<body>hi</body>", "<active xmlns='http://jabber.org/protocol/chatstates'/>", ""] {
                all.push(format!("<message type='{ty}' id='m' to='{to}'>{payload}</message>"));
            }
        }
        for (ns, element) in questions() {
            for ty in ["get", "set", "result", "error"] {
                all.push(format!("<iq type='{ty}' id='i' to='{to}'><{element} xmlns='{ns}'/></iq>"));
            }
        }
        all.push(format!("<iq type='get' id='i' to='{to}'/>"));
        all.push(format!("<presence to='{to}'/>"));
        for ty in ["unavailable", "probe", "subscribe", "subscribed", "unsubscribe", "unsubscribed", "error"] {
            all.push(format!("<presence type='{ty}' id='p' to='{to}'/>"));
        }
    }
    // One after the other.
    let subscribe = "<presence type='subscribe' to='@'/>";
    let set = "<iq type='set' id='r'><query xmlns='jabber:iq:roster'><item jid='@' name='N'/></query></iq>";
    for first in [subscribe, set, "<presence to='@/desk'/>", "<presence type='subscribed' to='@'/>"] {
        for second in ["probe", "unsubscribe", "unsubscribed", "unavailable", "subscribe"] {
            for to in ["@", "@/desk"] {
                all.push(format!("{first}<presence type='{second}' id='p' to='{to}'/>"));
            }
        }
        all.push(format!("{first}<iq type='get' id='l' to='@'><query xmlns='jabber:iq:last'/></iq>"));
    }
    all
}

/// What the asker gets for it, its address and whatever counts time or chance made equal.
fn answer(stanza: &str, account: &str, prepare: impl FnOnce(&mut Core)) -> String {
    let mut core = Core::new(1);
    prepare(&mut core);
    let eve = core.login(ASKER);
    core.send(eve, "<presence/><iq type='get' id='roster'><query xmlns='jabber:iq:roster'/></iq>");
    core.take(eve);
    core.send(eve, &stanza.replace('@', account));
    assert_eq!((core.unsettled(eve), core.closed(eve)), (0, None), "{stanza}");
    let got = core.take(eve).concat().replace(account, "@");
    let version = |text: &str| text.len() > 12 && text.bytes().all(|byte| byte.is_ascii_digit());
    let pieces = got.split_inclusive(|c: char| !c.is_ascii_digit());
    pieces
        .map(|piece| if version(piece.trim_end_matches(|c: char| !c.is_ascii_digit())) { "N" } else { piece })
        .collect()
}

#[test]
fn threat_032_nobody_learns_whether_an_account_exists() {
    let mut told = Vec::new();
    for stanza in stanzas() {
        let nobody = answer(&stanza, "bob@example.org", |_| {});
        let offline = answer(&stanza, "bob@example.org", |core| {
            core.account("bob@example.org");
        });
        let online = answer(&stanza, "bob@example.org", |core| {
            let bob = core.login("bob@example.org/phone");
            core.send(bob, "<presence><status>here</status></presence>");
        });
        let gone = answer(&stanza, "bob@example.org", |core| {
            let bob = core.login("bob@example.org/phone");
            core.send(bob, "<presence/><presence type='unavailable'><status>bye</status></presence>");
            core.close(bob, true);
        });
        if [&offline, &online, &gone].iter().any(|other| **other != nobody) {
            told.push(format!(
                "{stanza}\n  nobody:  {nobody}\n  offline: {offline}\n  online:  {online}\n  gone:    {gone}"
            ));
        }
    }
    assert!(told.is_empty(), "{} tell:\n{}", told.len(), told.join("\n"));
}

/// The same of those whose roster says that they wait for an answer, whatever is at the other end.
#[test]
fn threat_032_a_request_that_waits_tells_nothing() {
    for probe in [
        "<presence type='probe' id='p' to='bob@example.org'/>",
        "<presence type='probe' id='p' to='bob@example.org/x'/>",
    ] {
        let answers = [false, true].map(|exists| {
            let mut core = Core::new(2);
            if exists {
                core.account("bob@example.org");
            }
            let eve = core.login(ASKER);
            core.send(eve, "<presence/><presence type='subscribe' to='bob@example.org'/>");
            core.take(eve);
            core.send(eve, probe);
            core.take(eve)
        });
        assert_eq!(answers[0], answers[1], "{probe}");
        assert_eq!(answers[0].len(), usize::from(!probe.contains("/x")), "{probe}");
    }
}

// ---- every question, and what is in it ------------------------------------------------------

/// Pieces of questions: what some handler looks for, and what none does.
const PIECES: &[&str] = &[
    "<item jid='bob@example.org' name='N' subscription='both' ask='subscribe' approved='true'><group>G</group></item>",
    "<item jid='bob@example.org' subscription='remove'/>",
    "<item jid='@@'/>",
    "<item/>",
    "<item jid=''><group/><group/></item>",
    "<username>bob</username>",
    "<username/>",
    "<password>pencil-and-paper</password>",
    "<password/>",
    "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>jabber:iq:search</value></field>\
     <field var='first'><value>B</value></field><field/></x>",
    "<x xmlns='jabber:x:data' type='cancel'/>",
    "<x xmlns='jabber:x:data'/>",
    "<set xmlns='http://jabber.org/protocol/rsm'><max>-1</max><after>x</after><index>y</index></set>",
    "<set xmlns='http://jabber.org/protocol/rsm'><max>4294967296</max><before/></set>",
    "<FN>Bob</FN>",
    "<exodus xmlns='exodus:prefs'/>",
    "<exodus xmlns=''/>",
    "<first>B</first>",
    "<nick>*</nick>",
    "text",
    " ",
    "<query/>",
    "<a><b><c><d><e><f/></e></d></c></b></a>",
    "<x xmlns='urn:example:x' a='1' b='2'/>",
];

fn below(random: &mut SeededRandom, end: usize) -> usize {
    let mut bytes = [0; 4];
    random.fill_bytes(&mut bytes);
    u32::from_le_bytes(bytes) as usize % end
}

/// A question with parts missing, repeated and too many.
fn question(random: &mut SeededRandom, ns: &str, element: &str) -> String {
    let attributes =
        ["", " node=''", " node='urn:x'", " ver=''", " ver='99999999999999999999'", " probe='maybe'", " queryid='q'"];
    let attribute = attributes[below(random, attributes.len())];
    let count = [0, 1, 1, 2, 3, 70][below(random, 6)];
    let mut inside = String::new();
    let piece = below(random, PIECES.len());
    for n in 0..count {
        // Many of one, or some of any.
        let at = if count == 70 || n == 0 { piece } else { below(random, PIECES.len()) };
        inside.push_str(PIECES[at]);
    }
    format!("<{element} xmlns='{ns}'{attribute}>{inside}</{element}>")
}

/// What there is of an account, in words.
fn state(core: &mut Core, account: &str) -> String {
    format!("{:?}", core.stored(account))
}

fn is_answer(core: &mut Core, who: Client, id: &str) -> Vec<(StanzaType, usize)> {
    let all = core.take_stanzas(who).into_iter();
    let answers = all.filter(|(stanza, _)| stanza.view().id == Some(id));
    answers.map(|(stanza, _)| (stanza.view().ty, stanza.bytes().len())).collect()
}

#[test]
fn threat_036_071_073_every_question_has_one_answer_and_touches_nobody_else() {
    let mut core = Core::with_registration(1, true);
    core.friends("eve@example.org", "bob@example.org");
    let mut eve = core.login(ASKER);
    let bob = core.login("bob@example.org/phone");
    core.send(bob, "<presence/><iq type='get' id='roster'><query xmlns='jabber:iq:roster'/></iq>");
    let others = state(&mut core, "bob@example.org");
    let random = &mut SeededRandom::new(71);
    for (ns, element) in questions() {
        for to in ["", "eve@example.org", "bob@example.org", "example.org", "nobody@example.org"] {
            for ty in ["get", "set"] {
                for n in 0..12 {
                    let question = question(random, ns, element);
                    core.take(bob);
                    let at = if to.is_empty() { String::new() } else { format!(" to='{to}'") };
                    let stanza = format!("<iq type='{ty}' id='q{n}'{at}>{question}</iq>");
                    core.send(eve, &stanza);
                    core.advance(limits::REGISTRATIONS_WINDOW_MS);
                    let answers = is_answer(&mut core, eve, &format!("q{n}"));
                    let [(answer, bytes)] = answers[..] else { panic!("{stanza}: {answers:?}") };
                    assert!(matches!(answer, StanzaType::Result | StanzaType::Error), "{stanza}");
                    assert!(bytes < stanza.len() + 8 * 1024, "{stanza}: {bytes}");
                    assert_eq!(core.unsettled(eve), 0, "{stanza}");
                    if ty == "set" && to.starts_with(['b', 'n']) {
                        assert_eq!(answer, StanzaType::Error, "{stanza}");
                    }
                    let heard = core.take(bob).concat();
                    assert!(heard.is_empty() || heard.starts_with("<presence"), "{stanza}: {heard}");
                    // Who changes the password loses other sessions, not this one.
                    if core.closed(eve).is_some() {
                        eve = core.login(ASKER);
                    }
                }
            }
        }
    }
    // Of Bob only what his own server does for his contact's subscription changed.
    core.forget();
    core.send(bob, "<iq type='get' id='v'><vCard xmlns='vcard-temp'/></iq>");
    assert!(core.take(bob).concat().contains("<vCard xmlns='vcard-temp'/>"));
    let credentials = |state: &str| {
        state.split_once("credentials: ").map(|(_, rest)| rest.split_once("} }").map(|(c, _)| c.to_owned()))
    };
    assert_eq!(credentials(&state(&mut core, "bob@example.org")), credentials(&others));
}

#[test]
fn threat_073_a_set_for_somebody_else_is_refused_by_every_handler() {
    let mut core = Core::with_registration(1, true);
    core.friends("eve@example.org", "bob@example.org");
    let eve = core.login(ASKER);
    core.account("bob@example.org");
    let before = state(&mut core, "bob@example.org");
    let account_wide = features::ALL.iter().flat_map(|feature| feature.iq);
    for handler in account_wide.filter(|handler| handler.scopes.iter().any(|scope| *scope != Scope::Server)) {
        let (ns, element) = (handler.ns, handler.element);
        for inside in PIECES {
            core.send(
                eve,
                &format!(
                    "<iq type='set' id='s' to='bob@example.org'><{element} xmlns='{ns}'>{inside}</{element}></iq>"
                ),
            );
            let answer = core.take(eve).concat();
            assert!(answer.starts_with("<iq type='error' id='s' from='bob@example.org'"), "{ns} {inside}: {answer}");
        }
    }
    assert_eq!(state(&mut core, "bob@example.org"), before);
}

/// XEP-0078 is not there, and whoever is named in a question of XEP-0077 has to be who asks.
#[test]
fn threat_036_no_question_changes_the_password_it_names() {
    let mut core = Core::with_registration(1, true);
    core.account_with_password("bob@example.org", "old-password");
    let eve = core.login(ASKER);
    let before = state(&mut core, "bob@example.org");
    let named = "<username>bob</username><password>new-password</password>";
    for (ns, to) in ["jabber:iq:auth", "jabber:iq:register"].into_iter().flat_map(|ns| {
        ["", " to='eve@example.org'", " to='bob@example.org'", " to='example.org'"].map(move |to| (ns, to))
    }) {
        for name in ["bob", "bob@example.org", "BOB", "bob@example.org/phone"] {
            let named = named.replace("<username>bob<", &format!("<username>{name}<"));
            core.send(eve, &format!("<iq type='set' id='s'{to}><query xmlns='{ns}'>{named}</query></iq>"));
            let answer = core.take(eve).concat();
            assert!(answer.starts_with("<iq type='error' id='s'"), "{ns}{to} {name}: {answer}");
            // Who is asked does not repeat it where it means something.
            assert!(ns != "jabber:iq:register" || !to.is_empty() || !answer.contains("new-password"), "{answer}");
        }
    }
    assert_eq!(state(&mut core, "bob@example.org"), before);
}
