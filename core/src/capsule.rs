//! Capsules: all that the next core needs to have a session as it was, kept by the edge and returned verbatim.
//!
//! A capsule is sealed (AES-256-GCM) by a key derived from the store's secret, and bound to the edge's run, the
//! socket's counter and the generation: an edge can neither read nor make one, nor pass one off for another
//! session. It is sent anew when something in it changed, ahead of the settlement of the stanza that changed it.
//!
//! ```text
//!  sealed   version: u8 ‖ nonce: 12 bytes ‖ ciphertext and tag      additional data: edge, run, counter, generation
//! ```

use crate::account::Account;
use crate::cx::Cx;
use crate::limits;
use crate::link::LinkId;
use crate::session::{Session, SessionKey, Visibility};
use crate::sm::{Sm, Token};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hmac;
use hearth_storage::LogId;
use hearth_wire::FullJid;
use hearth_wire::ids::{EdgeIncarnation, Generation, StreamId};
use hearth_wire::stanza::SharedStanza;
use hearth_wire::to_edge::{Capsule, ToEdge};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Of the contents below; a published version stays readable for one release. What is added comes behind what was
/// there: the build before does not look at it, and where it is not there it has a value of its own.
const VERSION: u8 = 1;

/// What a capsule says; a shape of its own, so that sessions may change theirs.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Contents<'a> {
    pub jid: &'a str,
    pub stream: StreamId,
    pub bound: Generation,
    /// [`hearth_storage::Credentials::generation`] when it was bound.
    pub credentials: u64,
    #[serde(borrow, with = "serde_bytes")]
    presence: Option<&'a [u8]>,
    priority: i8,
    visibility: u8,
    interested: bool,
    blocklist_asked: bool,
    #[serde(borrow)]
    directed: Vec<&'a str>,
    sm: Option<SmContents>,
    /// The greatest log id among what it was sent before: the edge of a socket that resumed it has counted none of it.
    pub log: LogId,
    /// Stanzas of its client up to this one may have been handled by an earlier core, whatever the edge of a socket
    /// that resumed it has counted.
    pub again_until: u64,
    /// Records that it was to be sent, as a lost socket was, and is not yet.
    pub owed: Vec<LogId>,
    /// But for these, it was sent all that was for it up to this record, if the account has one that nobody has, not
    /// that. What comes behind is owed to it, whoever else has it: this is all that is known of a long backlog. Written
    /// behind all else; 0 of a build that did not know it: then `log` is what is known.
    #[serde(skip)]
    pub from: LogId,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct SmContents {
    token: Option<Token>,
    max_s: u32,
    number: u64,
    entry: u64,
}

/// The socket that a capsule is of.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Place<'a> {
    pub edge: &'a str,
    pub incarnation: EdgeIncarnation,
    pub counter: u64,
    pub generation: Generation,
}

impl<'a> Contents<'a> {
    fn of(session: &'a Session, account: Option<&Account>) -> Contents<'a> {
        let (credentials, heard) =
            account.map_or((0, LogId(0)), |account| (account.credentials_generation, account.log.heard));
        Contents {
            jid: session.jid.as_str(),
            stream: session.stream,
            bound: session.bound,
            credentials,
            presence: session.presence.as_ref().map(SharedStanza::bytes),
            priority: session.priority,
            visibility: match session.visibility {
                Visibility::Visible => 0,
                Visibility::Invisible => 1,
                Visibility::InvisibleAway => 2,
            },
            interested: session.interested,
            blocklist_asked: session.blocklist_asked,
            directed: session.directed.iter().flat_map(|directed| directed.iter().map(AsRef::as_ref)).collect(),
            sm: session.sm.as_ref().map(|sm| SmContents {
                token: sm.token,
                max_s: sm.max_s,
                number: sm.number,
                entry: sm.entry,
            }),
            log: session.outbound.log,
            again_until: session.earlier.as_ref().map_or(0, |earlier| earlier.again_until),
            owed: session.outbound.all_owed(),
            from: session.outbound.had_all_to(heard),
        }
    }

    /// Reads what [`contents`] made.
    pub fn of_record(bytes: &[u8]) -> Option<Contents<'_>> {
        bytes.split_first().filter(|(version, _)| **version == VERSION).and_then(|(_, text)| Contents::read(text))
    }

    /// Reads what [`open`] gave.
    pub fn read(text: &[u8]) -> Option<Contents<'_>> {
        let (mut contents, rest) = postcard::take_from_bytes::<Contents<'_>>(text).ok()?;
        if !rest.is_empty() {
            (contents.from, _) = postcard::take_from_bytes(rest).ok()?;
        }
        Some(contents)
    }

    /// Behind what is in `bytes`.
    fn write(&self, bytes: Vec<u8>) -> postcard::Result<Vec<u8>> {
        postcard::to_extend(&self.from, postcard::to_extend(self, bytes)?)
    }

    /// Full JID of the session.
    pub fn full_jid(&self) -> Option<FullJid> {
        FullJid::parse(self.jid).ok()
    }

    /// The stanza from which a client with stream management counts: what came before it does not send again.
    pub fn counted_from(&self) -> u64 {
        self.sm.map_or(0, |sm| sm.number)
    }

    /// Gives a session what the capsule holds.
    pub fn restore(&self, session: &mut Session) {
        session.presence = self.presence.and_then(|bytes| SharedStanza::from_bytes(bytes).ok());
        session.priority = self.priority;
        session.visibility = match self.visibility {
            1 => Visibility::Invisible,
            2 => Visibility::InvisibleAway,
            _ => Visibility::Visible,
        };
        session.interested = self.interested;
        session.blocklist_asked = self.blocklist_asked;
        let directed: BTreeSet<Box<str>> = self.directed.iter().map(|to| (*to).into()).collect();
        session.directed = (!directed.is_empty()).then(|| Box::new(directed));
        session.sm = self.sm.map(|SmContents { token, max_s, number, entry }| {
            Box::new(Sm { token, max_s, number, entry, resuming: None })
        });
    }
}

/// Something that the session's capsule holds has changed: the edge gets another with the end of the turn.
pub fn changed(cx: &mut Cx<'_>, key: SessionKey) {
    if let Some(session) = cx.session_mut(key).filter(|session| !session.capsule_due) {
        session.capsule_due = true;
        cx.shard.capsules_due.push(key);
    }
    cx.shard.records_due.insert(key);
}

/// The same for storage, not sealed.
pub fn contents(cx: &Cx<'_>, session: &Session) -> Vec<u8> {
    // Plain data into memory: nothing that fails.
    Contents::of(session, cx.account(session.account)).write(vec![VERSION]).unwrap_or_default()
}

/// End of a turn: sends what is due, on links that know what to do with it.
pub fn flush(cx: &mut Cx<'_>) {
    for key in std::mem::take(&mut cx.shard.capsules_due) {
        let nonce = cx.random();
        let Some(session) = cx.session_mut(key).filter(|session| session.capsule_due) else { continue };
        session.capsule_due = false;
        let Some(session) = cx.session(key) else { continue };
        let Some(link) = cx.shard.links.get(&session.link).filter(|link| link.up && link.attaches()) else { continue };
        let (counter, generation) = (session.counter, session.generation);
        let place = Place { edge: &link.edge, incarnation: link.incarnation, counter, generation };
        let contents = Contents::of(session, cx.account(session.account));
        // One that is too long, or cannot be made, is none: the session ends with its core.
        let sealed = seal(&cx.shard.settings.secret, nonce, &place, &contents).unwrap_or_default();
        let to: LinkId = session.link;
        cx.out.frame(to, &ToEdge::Capsule(Capsule { counter, generation, sealed: &sealed }));
    }
}

fn key(secret: &[u8; 32]) -> Option<LessSafeKey> {
    let secret = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let derived = hmac::sign(&secret, b"hearth capsule 1");
    UnboundKey::new(&AES_256_GCM, derived.as_ref()).ok().map(LessSafeKey::new)
}

fn aad(place: &Place<'_>) -> Aad<Vec<u8>> {
    // Plain data into memory: nothing that fails.
    Aad::from(postcard::to_allocvec(place).unwrap_or_default())
}

fn seal(secret: &[u8; 32], nonce: [u8; NONCE_LEN], place: &Place<'_>, contents: &Contents<'_>) -> Option<Vec<u8>> {
    let mut text = contents.write(Vec::new()).ok().filter(|text| text.len() <= limits::CAPSULE_BYTES_MAX)?;
    key(secret)?.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad(place), &mut text).ok()?;
    Some([&[VERSION][..], &nonce, &text].concat())
}

/// Opens a capsule that an edge returned, to be read by [`Contents::read`]. `None`: it is not one of ours, or not
/// of this place.
pub fn open(secret: &[u8; 32], place: &Place<'_>, sealed: &[u8]) -> Option<Vec<u8>> {
    let (version, sealed) = sealed.split_first()?;
    let (nonce, text) = sealed.split_first_chunk::<NONCE_LEN>()?;
    if *version != VERSION || text.len() > limits::CAPSULE_BYTES_MAX.saturating_add(AES_256_GCM.tag_len()) {
        return None;
    }
    let mut text = text.to_vec();
    let length = key(secret)?.open_in_place(Nonce::assume_unique_for_key(*nonce), aad(place), &mut text).ok()?.len();
    text.truncate(length);
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place<'_> =
        Place { edge: "paris", incarnation: 7, counter: 3, generation: Generation { epoch: 2, counter: 9 } };

    fn contents() -> Contents<'static> {
        Contents {
            jid: "ada@example.org/desk",
            stream: StreamId([5; 16]),
            bound: Generation { epoch: 2, counter: 8 },
            credentials: 4,
            presence: Some(b"presence"),
            priority: -1,
            visibility: 2,
            interested: true,
            blocklist_asked: false,
            directed: vec!["grace@example.org"],
            sm: Some(SmContents { token: Some([1; 16]), max_s: 300, number: 5, entry: 6 }),
            log: LogId(7),
            again_until: 3,
            owed: vec![LogId(4)],
            from: LogId(8),
        }
    }

    #[test]
    fn a_capsule_comes_back_at_its_place_only() {
        let secret = [3; 32];
        let sealed = seal(&secret, [9; 12], &PLACE, &contents()).unwrap();
        let text = open(&secret, &PLACE, &sealed).unwrap();
        assert_eq!(Contents::read(&text), Some(contents()));
        let elsewhere = [
            Place { edge: "rome", ..PLACE },
            Place { incarnation: 8, ..PLACE },
            Place { counter: 4, ..PLACE },
            Place { generation: Generation { epoch: 2, counter: 10 }, ..PLACE },
        ];
        for place in elsewhere {
            assert_eq!(open(&secret, &place, &sealed), None, "{place:?}");
        }
        assert_eq!(open(&[4; 32], &PLACE, &sealed), None);
        for at in 0..sealed.len() {
            let mut forged = sealed.clone();
            forged[at] ^= 1;
            assert_eq!(open(&secret, &PLACE, &forged), None, "{at}");
            assert_eq!(open(&secret, &PLACE, &sealed[..at]), None, "{at}");
        }
    }

    #[test]
    fn one_that_is_too_long_is_none() {
        let long = "x".repeat(limits::CAPSULE_BYTES_MAX);
        let contents = Contents { directed: vec![&long], ..contents() };
        assert_eq!(seal(&[3; 32], [9; 12], &PLACE, &contents), None);
    }

    /// `<presence xml:lang='en'><show>away</show><status>À bientôt</status></presence>`.
    const PRESENCE: &str = "01040000000102656e210109000001330002046177617901100000013400020bc380206269656e74c3b474";

    /// Version 1 as the first release writes it. Stays for as long as that version is to be read.
    const FULL: &str = "0114616461406578616d706c652e6f72672f6465736b05050505050505050505050505050505020804012b0104\
        0000000102656e210109000001330002046177617901100000013400020bc380206269656e74c3b474ff020100\
        01116772616365406578616d706c652e6f7267010101010101010101010101010101010101ac02050607030104";

    /// The same of a session that has nothing but its name.
    const PLAIN: &str =
        "0114616461406578616d706c652e6f72672f6465736b0505050505050505050505050505050502080400000000000000000000";

    /// [`FULL`] at [`PLACE`], sealed for the secret that is all 3.
    const SEALED: &str = "01090909090909090909090909e0a2b76f0a2827bdef435c8ec3f4ca87f22cff75545dffad1607bc475de61754\
        1165b9d95c7b27e651853c2d827036073cdfdf0f3c6492059d7e99295772c7130bf76c381d06bd4bbcfca4bcf4\
        a1b95d9275b647f38ecc94b15ac5adbe1269d0a94d4cdbced513c65e052e843a2b2960e635f2cf46883cdb2bda\
        8ea6e59411220370f0fa54c9cbb42171060dacd5cf8cf3ad5e994b7f";

    fn bytes(hex: &str) -> Vec<u8> {
        let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        (0..hex.len()).step_by(2).map(byte).collect()
    }

    fn plain() -> Contents<'static> {
        Contents {
            presence: None,
            priority: 0,
            visibility: 0,
            interested: false,
            directed: vec![],
            sm: None,
            log: LogId(0),
            again_until: 0,
            owed: vec![],
            ..contents()
        }
    }

    #[test]
    fn records_of_version_1_stay_readable() {
        let presence = bytes(PRESENCE);
        let full = Contents { presence: Some(&presence), ..contents() };
        for (hex, expected) in [(FULL, full), (PLAIN, plain())] {
            let record = bytes(hex);
            assert_eq!(Contents::of_record(&record), Some(Contents { from: LogId(0), ..expected }));
            // As this build writes it, and a later one.
            let known = [&record[..], &[9]].concat();
            let longer = [&known[..], b"what a later build appends"].concat();
            assert_eq!(Contents::of_record(&known).map(|contents| contents.from), Some(LogId(9)));
            assert_eq!(Contents::of_record(&longer), Contents::of_record(&known));
            for short in 0..record.len() {
                assert_eq!(Contents::of_record(&record[..short]), None, "{short}");
            }
            let later = [&[VERSION + 1], &record[1..]].concat();
            assert_eq!(Contents::of_record(&later), None);
        }
        let presence = SharedStanza::from_bytes(&presence).unwrap();
        let texts = hearth_wire::tree::children(presence.view().payload).map(|element| element.text());
        assert_eq!(
            (presence.view().lang, texts.collect::<Vec<_>>()),
            (Some("en"), vec!["away".into(), "À bientôt".into()])
        );
    }

    #[test]
    fn capsules_of_version_1_stay_readable() {
        let text = open(&[3; 32], &PLACE, &bytes(SEALED)).unwrap();
        let record = bytes(FULL);
        assert_eq!(Contents::read(&text), Contents::of_record(&record));
        assert_eq!(text, record[1..]);
    }

    #[test]
    fn what_is_written_is_version_1() {
        let presence = bytes(PRESENCE);
        let full = Contents { presence: Some(&presence), ..contents() };
        let record = |contents: &Contents<'_>| contents.write(vec![VERSION]).unwrap();
        for (contents, hex) in [(full, FULL), (plain(), PLAIN)] {
            let expected = [&bytes(hex)[..], &[8]].concat();
            assert_eq!(record(&contents), expected, "the shape has changed: that needs a new version");
        }
        assert_eq!(
            Contents::of_record(&bytes(FULL)).unwrap().write(vec![VERSION]),
            Ok([&bytes(FULL)[..], &[0]].concat())
        );
    }
}
