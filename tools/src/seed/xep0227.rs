//! Accounts as files of the Portable Import/Export Format (XEP-0227), for other servers. Written account by account.
//!
//! ```text
//!  --split none      FILE                         all of it
//!  --split domain    FOLDER/server-data.xml       names the other (XInclude)
//!                    FOLDER/DOMAIN.xml            the domain's accounts
//!  --split account   FOLDER/userN@DOMAIN.xml      each account as a document of its own
//! ```

use super::args::{Args, Split};
use super::people::{CONTACT_GROUP, People, Person, contact_name};
use super::{Totals, bar};
use crate::xml::escape;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hearth_storage::Credentials;
use hearth_wire::tree::{self, Element, Node};
use std::fmt::Write as _;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

const NS: &str = "urn:xmpp:pie:0";
const HOST_END: &str = "</host>\n";
const DATA_END: &str = "</server-data>\n";
const DECLARATION: &str = "<?xml version='1.0' encoding='UTF-8'?>\n";

/// Writes all of them there.
pub(super) fn write(path: &Path, args: &Args, people: &People) -> Result<Totals, String> {
    let proof = match args.with_passwords {
        true => Proof::Password(escape(&args.password)),
        false => Proof::of(&people.credentials),
    };
    match args.split {
        Split::None => one_file(path, people, &proof),
        Split::Domain => file_of_domain(path, people, &proof),
        Split::Account => file_of_each(path, people, &proof),
    }
}

fn one_file(path: &Path, people: &People, proof: &Proof) -> Result<Totals, String> {
    let mut file = Document::new(path.to_owned())?;
    file.put(&whole(&host(people)))?;
    let totals = each(people, proof, |_, user| file.put(user))?;
    file.put(HOST_END)?;
    file.put(DATA_END)?;
    file.end()?;
    Ok(totals)
}

fn file_of_domain(path: &Path, people: &People, proof: &Proof) -> Result<Totals, String> {
    folder(path)?;
    let domain = people.domain();
    let mut main = Document::new(path.join("server-data.xml"))?;
    // As in the XEP's example: ejabberd 23.01 knows `xi:include` by its prefix, declared at the root.
    let head = format!("{DECLARATION}<server-data xmlns='{NS}' xmlns:xi='http://www.w3.org/2001/XInclude'>\n");
    main.put(&format!("{head}<xi:include href='{}.xml'/>\n{DATA_END}", escape(domain)))?;
    main.end()?;
    let mut file = Document::new(path.join(format!("{domain}.xml")))?;
    file.put(&format!("{DECLARATION}<host xmlns='{NS}' jid='{}'>\n", escape(domain)))?;
    let totals = each(people, proof, |_, user| file.put(user))?;
    file.put(HOST_END)?;
    file.end()?;
    Ok(totals)
}

fn file_of_each(path: &Path, people: &People, proof: &Proof) -> Result<Totals, String> {
    folder(path)?;
    let (head, tail) = (whole(&host(people)), format!("{HOST_END}{DATA_END}"));
    each(people, proof, |person, user| {
        let mut file = Document::new(path.join(format!("{}.xml", people.address(person.user))))?;
        [&head, user, &tail].into_iter().try_for_each(|text| file.put(text))?;
        file.end()
    })
}

/// The beginning of a document, with this in it.
fn whole(content: &str) -> String {
    format!("{DECLARATION}<server-data xmlns='{NS}'>\n{content}")
}

fn host(people: &People) -> String {
    format!("<host jid='{}'>\n", escape(people.domain()))
}

/// Hands each account's element to `put`, one after the other.
fn each(
    people: &People,
    proof: &Proof,
    mut put: impl FnMut(&Person, &str) -> Result<(), String>,
) -> Result<Totals, String> {
    let mut totals = Totals::default();
    let bar = bar(people.users.len() as u64);
    let mut text = String::new();
    for user in people.users.clone() {
        let person = people.person(user);
        text.clear();
        user_element(&mut text, people, &person, proof).map_err(|_| "formatting failed")?;
        put(&person, &text)?;
        totals.count(&person);
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(totals)
}

/// How an account proves who it is; the same of all.
enum Proof {
    /// The elements.
    Keys(String),
    /// The attribute's value.
    Password(String),
}

impl Proof {
    /// SHA-1 comes first: ejabberd 23.01 reads one only.
    fn of(Credentials { sha1, sha256, sha512, .. }: &Credentials) -> Proof {
        let keys =
            [("SCRAM-SHA-1", sha1), ("SCRAM-SHA-256", sha256), ("SCRAM-SHA-512", sha512)].map(|(mechanism, keys)| {
                let [salt, server, stored] =
                    [&keys.salt, &keys.server_key, &keys.stored_key].map(|key| BASE64.encode(key));
                format!(
                    "<scram-credentials xmlns='{NS}#scram' mechanism='{mechanism}'><iter-count>{}</iter-count>\
                 <salt>{salt}</salt><server-key>{server}</server-key><stored-key>{stored}</stored-key>\
                 </scram-credentials>",
                    keys.iterations
                )
            });
        Proof::Keys(keys.concat())
    }
}

fn user_element(out: &mut String, people: &People, person: &Person, proof: &Proof) -> std::fmt::Result {
    write!(out, "<user name='user{}'", person.user)?;
    match proof {
        Proof::Keys(keys) => write!(out, ">{keys}")?,
        Proof::Password(password) => write!(out, " password='{password}'>")?,
    }
    if !person.contacts.is_empty() {
        out.push_str("<query xmlns='jabber:iq:roster'>");
        for contact in &person.contacts {
            let (address, name) = (people.address(*contact), contact_name(*contact));
            write!(out, "<item jid='{address}' name='{name}' subscription='both'>")?;
            write!(out, "<group>{CONTACT_GROUP}</group></item>")?;
        }
        out.push_str("</query>");
    }
    if let Some(card) = &person.card {
        for element in tree::children(&card.tree()) {
            render(out, &element)?;
        }
    }
    out.push_str("</user>\n");
    Ok(())
}

/// An element without attributes, as those of a vCard are.
fn render(out: &mut String, element: &Element<'_>) -> std::fmt::Result {
    let name = element.name();
    write!(out, "<{name}")?;
    if !element.inherits_ns() {
        write!(out, " xmlns='{}'", element.ns())?;
    }
    out.push('>');
    for node in element.nodes() {
        match node {
            Node::Element(child) => render(out, &child)?,
            Node::Text(text) => out.push_str(&escape(text)),
        }
    }
    write!(out, "</{name}>")
}

/// A file that was not there before. Keys are in it, so others may not read it (XEP-0227, Security Considerations).
struct Document {
    path: PathBuf,
    out: BufWriter<File>,
}

impl Document {
    fn new(path: PathBuf) -> Result<Document, String> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let file = file.map_err(|error| format!("{}: {error}; name one that is not there yet", path.display()))?;
        Ok(Document { path, out: BufWriter::new(file) })
    }

    fn put(&mut self, text: &str) -> Result<(), String> {
        self.out.write_all(text.as_bytes()).map_err(|error| format!("{}: {error}", self.path.display()))
    }

    fn end(mut self) -> Result<(), String> {
        self.out.flush().map_err(|error| format!("{}: {error}", self.path.display()))
    }
}

fn folder(path: &Path) -> Result<(), String> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| format!("{}: {error}; with this --split it must be a folder", path.display()))
}

#[cfg(test)]
mod tests {
    use crate::seed::{Args, Seeded, run};
    use argh::FromArgs as _;
    use aws_lc_rs::{digest, hmac, pbkdf2};
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD as BASE64;
    use std::collections::BTreeMap;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;
    use xml::reader::{EventReader, XmlEvent};

    fn seeded(path: &Path, words: &str) -> Result<Seeded, String> {
        let path = path.to_str().unwrap();
        let words: Vec<&str> = ["--xep0227", path].into_iter().chain(words.split_whitespace()).collect();
        run(&Args::from_args(&["seed"], &words).map_err(|early| early.output)?)
    }

    /// What a document says, by another parser: the path of each element and attribute behind its namespace's end, and
    /// the text in it, user by user (`user0/query/item@jid`).
    fn read(file: &Path) -> Vec<(String, String)> {
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let (mut path, mut said) = (Vec::<String>::new(), Vec::new());
        for event in EventReader::new(std::fs::File::open(file).unwrap()) {
            match event.unwrap() {
                XmlEvent::StartElement { name, attributes, .. } => {
                    let ns = name.namespace.unwrap_or_default();
                    let ns = ns.rsplit([':', '/']).next().unwrap_or_default();
                    path.push(format!("{ns} {}", name.local_name));
                    let here = path.join("/");
                    said.push((here.clone(), String::new()));
                    said.extend(attributes.into_iter().map(|a| (format!("{here}@{}", a.name.local_name), a.value)));
                }
                XmlEvent::Characters(text) => said.push((format!("{}#", path.join("/")), text)),
                XmlEvent::EndElement { .. } => drop(path.pop()),
                _ => {}
            }
        }
        said
    }

    /// All that stands at this path.
    fn at<'s>(said: &'s [(String, String)], path: &str) -> Vec<&'s str> {
        said.iter().filter(|(at, _)| at == path).map(|(_, value)| value.as_str()).collect()
    }

    const USER: &str = "0 server-data/0 host/0 user";

    #[test]
    fn one_file_holds_what_was_asked() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("accounts.xml");
        let words = "--users 40 --first-user 3 --contacts 6 --graph power-law --vcards --domain example.org";
        let done = seeded(&file, words).unwrap();
        assert_eq!((done.totals.roster_items, done.totals.vcards), (40 * 6, 40));
        let said = read(&file);
        assert_eq!(at(&said, "0 server-data/0 host@jid"), ["example.org"]);
        let names: Vec<String> = (3..43).map(|user| format!("user{user}")).collect();
        assert_eq!(at(&said, &format!("{USER}@name")), names);
        assert!(at(&said, &format!("{USER}@password")).is_empty());

        let item = format!("{USER}/roster query/roster item");
        assert_eq!(at(&said, &format!("{item}@subscription")), ["both"; 240]);
        assert_eq!(at(&said, &format!("{item}/roster group#")), ["Friends"; 240]);
        let mut rosters: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        let mut user = "";
        for (path, value) in &said {
            if *path == format!("{USER}@name") {
                user = value;
            } else if *path == format!("{item}@jid") {
                rosters.entry(user).or_default().push(value.strip_suffix("@example.org").unwrap());
            }
        }
        for (user, contacts) in &rosters {
            assert!(contacts.iter().all(|contact| contact != user && rosters[contact].contains(user)), "{user}");
        }
        assert_eq!(rosters.values().map(Vec::len).max(), Some(done.totals.contacts_most));

        let card = format!("{USER}/vcard-temp vCard");
        assert_eq!(at(&said, &format!("{card}/vcard-temp EMAIL/vcard-temp USERID#"))[1], "user4@example.org");
        let names = at(&said, &format!("{card}/vcard-temp N/vcard-temp FAMILY#"));
        assert!(names.contains(&"Smith & Sons") && names.contains(&"O'Brien"), "{names:?}");
        assert_eq!(at(&said, &format!("{card}/vcard-temp PHOTO/vcard-temp BINVAL#")).len(), 40);
    }

    #[test]
    fn keys_are_those_of_the_password() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("accounts.xml");
        seeded(&file, "--users 1 --password pencil").unwrap();
        let said = read(&file);
        let keys = format!("{USER}/0#scram scram-credentials");
        assert_eq!(at(&said, &format!("{keys}@mechanism")), ["SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512"]);
        // RFC 5802 §3, RFC 7677.
        let algorithms = [
            (pbkdf2::PBKDF2_HMAC_SHA1, hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &digest::SHA1_FOR_LEGACY_USE_ONLY),
            (pbkdf2::PBKDF2_HMAC_SHA256, hmac::HMAC_SHA256, &digest::SHA256),
            (pbkdf2::PBKDF2_HMAC_SHA512, hmac::HMAC_SHA512, &digest::SHA512),
        ];
        for (nth, (stretch, mac, hash)) in algorithms.into_iter().enumerate() {
            let value = |name: &str| at(&said, &format!("{keys}/0#scram {name}#"))[nth];
            let decode = |name: &str| BASE64.decode(value(name)).unwrap();
            assert_eq!(value("iter-count"), "10000");
            let mut salted = vec![0; hash.output_len()];
            let rounds = std::num::NonZeroU32::new(10_000).unwrap();
            pbkdf2::derive(stretch, rounds, &decode("salt"), b"pencil", &mut salted);
            let key = |what: &[u8]| hmac::sign(&hmac::Key::new(mac, &salted), what).as_ref().to_vec();
            assert_eq!(decode("stored-key"), digest::digest(hash, &key(b"Client Key")).as_ref());
            assert_eq!(decode("server-key"), key(b"Server Key"));
        }
    }

    #[test]
    fn a_password_takes_the_place_of_keys() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("accounts.xml");
        seeded(&file, "--users 2 --password <&'pencil'> --with-passwords").unwrap();
        let said = read(&file);
        assert_eq!(at(&said, &format!("{USER}@password")), ["<&'pencil'>"; 2]);
        assert!(said.iter().all(|(path, _)| !path.contains("scram")));
    }

    #[test]
    fn files_of_a_domain_and_of_each_account_say_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let [one, domain, each] = ["one.xml", "domain", "each"].map(|name| dir.path().join(name));
        let words = "--users 5 --contacts 4 --vcards";
        seeded(&one, words).unwrap();
        seeded(&domain, &format!("{words} --split domain")).unwrap();
        seeded(&each, &format!("{words} --split account")).unwrap();
        // White space between elements apart.
        let users = |file: &Path| -> Vec<(String, String)> {
            let said = read(file).into_iter().filter(|(_, value)| value != "\n");
            said.map(|(path, value)| (path.replace("0 server-data/", ""), value))
                .filter(|(path, _)| !path.is_empty())
                .collect()
        };
        let all = users(&one);
        let main = domain.join("server-data.xml");
        assert_eq!(at(&read(&main), "0 server-data/XInclude include@href"), ["localhost.xml"]);
        assert!(std::fs::read_to_string(&main).unwrap().contains("\n<xi:include href="), "as ejabberd knows it");
        assert_eq!(users(&domain.join("localhost.xml")), all[1..]);
        let parts: Vec<_> = (0..5).map(|user| users(&each.join(format!("user{user}@localhost.xml")))).collect();
        assert!(parts.iter().all(|part| part[..3] == all[..3]), "server-data, host and its address");
        assert_eq!(parts.iter().flat_map(|part| &part[3..]).collect::<Vec<_>>(), all[3..].iter().collect::<Vec<_>>());
    }

    #[test]
    fn nothing_is_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("accounts.xml");
        std::fs::write(&file, "mine").unwrap();
        assert!(seeded(&file, "--users 1").unwrap_err().contains("not there yet"));
        assert!(seeded(&file, "--users 1 --split domain").unwrap_err().contains("must be a folder"));
        assert_eq!(std::fs::read(&file).unwrap(), b"mine");
        assert!(seeded(&file, "--data x").unwrap_err().contains("either"));
    }
}
