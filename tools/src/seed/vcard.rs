//! An account's vCard (XEP-0054): names, an address, a picture.

use super::graph::below;
use super::png;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hearth_core::random::SeededRandom;
use hearth_core::vcard::NS;
use hearth_wire::tree::Builder;

/// Some of them with what must be escaped or is not ASCII.
const GIVEN: [&str; 24] = [
    "Ada", "Grace", "Alan", "Barbara", "Edsger", "Frances", "Donald", "Karen", "John", "Margaret", "Tony", "Radia",
    "Zoë", "José", "Søren", "Ágnes", "Łukasz", "Chloé", "Jürgen", "Nadežda", "Пётр", "美咲", "Eleni", "Noor",
];
const FAMILY: [&str; 20] = [
    "Lovelace",
    "Hopper",
    "Turing",
    "Liskov",
    "Dijkstra",
    "Allen",
    "Knuth",
    "Jones",
    "Backus",
    "Hamilton",
    "Hoare",
    "Perlman",
    "O'Brien",
    "Smith & Sons",
    "Müller",
    "García",
    "Ørsted",
    "Nováková",
    "Иванов",
    "佐藤",
];

#[derive(PartialEq, Eq, Debug)]
pub(super) struct Card {
    given: &'static str,
    family: &'static str,
    nick: String,
    email: String,
    pub(super) photo: Vec<u8>,
}

impl Card {
    pub(super) fn of(user: u32, address: &str, random: &mut SeededRandom) -> Card {
        let (given, family) = (one_of(&GIVEN, random), one_of(&FAMILY, random));
        let nick = format!("{given} {user}");
        Card { given, family, nick, email: address.to_owned(), photo: png::picture(random) }
    }

    /// As a core keeps it: the element that its owner would have sent.
    pub(super) fn tree(&self) -> Vec<u8> {
        let mut tree = Builder::new();
        tree.open(Some(NS), "vCard");
        tree.leaf(None, "FN", &format!("{} {}", self.given, self.family));
        tree.open(None, "N").leaf(None, "FAMILY", self.family).leaf(None, "GIVEN", self.given).close();
        tree.leaf(None, "NICKNAME", &self.nick);
        tree.open(None, "EMAIL").open(None, "INTERNET").close();
        tree.leaf(None, "USERID", &self.email).close();
        tree.open(None, "PHOTO").leaf(None, "TYPE", "image/png");
        tree.leaf(None, "BINVAL", &BASE64.encode(&self.photo)).close();
        tree.close();
        tree.finish()
    }
}

fn one_of(names: &[&'static str], random: &mut SeededRandom) -> &'static str {
    let count = u32::try_from(names.len()).unwrap_or(u32::MAX);
    names.get(below(count, random) as usize).copied().unwrap_or_default()
}
