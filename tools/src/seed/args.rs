//! The command line.

use super::limits::{PAIRS_MAX, POWER_LAW_SHARE, USERS_MAX, contacts_max};
use argh::FromArgs;
use std::path::PathBuf;
use std::str::FromStr;

/// What is said where neither or both places are named.
pub(super) const WHERE_TO: &str = "either --data FOLDER or --xep0227 FILE says where to; see --help";

/// Who is whose contact.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Graph {
    Groups,
    PowerLaw,
}

impl Graph {
    pub(super) fn name(self) -> &'static str {
        match self {
            Graph::Groups => "groups",
            Graph::PowerLaw => "power-law",
        }
    }
}

impl FromStr for Graph {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let named = [Graph::Groups, Graph::PowerLaw].into_iter().find(|graph| graph.name() == name);
        named.ok_or_else(|| format!("{name} is neither groups nor power-law"))
    }
}

/// How a XEP-0227 file is split.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Split {
    None,
    Domain,
    Account,
}

impl FromStr for Split {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "none" => Ok(Split::None),
            "domain" => Ok(Split::Domain),
            "account" => Ok(Split::Account),
            other => Err(format!("{other} is none of none, domain, account")),
        }
    }
}

/// Makes test accounts with one password, user0, user1, …: straight into the store of a Hearth that is not running, or
/// as files of the Portable Import/Export Format (XEP-0227) for any server.
#[derive(FromArgs, Clone, Debug)]
#[argh(
    example = "{command_name} --data hearth-data --users 100000 --contacts 25 --vcards",
    example = "{command_name} --data hearth-data --users 100000 --contacts 25 --graph power-law --seed 7 --json",
    example = "{command_name} --xep0227 accounts --split account --users 1000 --contacts 25 --vcards",
    example = "{command_name} --xep0227 accounts.xml --users 1000 --contacts 25 --with-passwords",
    note = "The same words make the same accounts, keys, contacts and vCards. Contacts are mutual. With --graph groups \
            everybody is in one closed group of --contacts + 1: `load presence` and `load mixed` count on that. With \
            power-law --contacts is the mean: most have about two thirds of it, few very many, 2,000 at most (fewer where \
            the domain's name is long); for `load login`, `idle` and `chat`, which ask no more of contacts than that \
            they are there.",
    note = "Prosody 0.12: prosody-migrator with an input of type \"xep0227\" reads --split account, from Prosody's own data \
            folder. ejabberd 23.01: `ejabberdctl import_piefxis FILE` reads --split none, which it holds in memory, or \
            server-data.xml of --split domain, which it does not, and needs --with-passwords: it takes SCRAM keys, too, \
            but then fails each login with them.",
    error_code(1, "nothing, or not all, was made; the line says why")
)]
pub struct Args {
    /// folder of the store, made if it is missing: this or --xep0227
    #[argh(option)]
    pub data: Option<PathBuf>,

    /// file to make, or folder with --split, for its owner alone
    #[argh(option)]
    pub xep0227: Option<PathBuf>,

    /// none: one file; domain: the accounts in one file that another includes; account: a file for each; default none
    #[argh(option, default = "Split::None")]
    pub split: Split,

    /// the password in the files as it is, and no SCRAM keys, for importers that read none
    #[argh(switch)]
    pub with_passwords: bool,

    /// domain of the accounts, default localhost
    #[argh(option, default = "String::from(\"localhost\")")]
    pub domain: String,

    /// how many accounts, default 15000
    #[argh(option, default = "15000")]
    pub users: u32,

    /// number of the first, default 0
    #[argh(option, default = "0")]
    pub first_user: u32,

    /// password of all of them, default pencil
    #[argh(option, default = "String::from(\"pencil\")")]
    pub password: String,

    /// contacts of each, or their mean, default 0
    #[argh(option, default = "0")]
    pub contacts: u32,

    /// groups or power-law, default groups
    #[argh(option, default = "Graph::Groups")]
    pub graph: Graph,

    /// give each a vCard (XEP-0054) with names, address and a picture of 0.4 to 4.3 KB
    #[argh(switch)]
    pub vcards: bool,

    /// what everything random follows from, default 1
    #[argh(option, default = "1")]
    pub seed: u64,

    /// print one JSON line instead of a sentence
    #[argh(switch)]
    pub json: bool,
}

impl Default for Args {
    #[expect(clippy::expect_used, reason = "no option is required")]
    fn default() -> Args {
        Args::from_args(&["seed"], &[]).expect("the defaults parse")
    }
}

impl Args {
    /// Refuses what cannot be made.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.data.is_some() == self.xep0227.is_some() {
            return Err(WHERE_TO.into());
        }
        if self.xep0227.is_none() && (self.with_passwords || self.split != Split::None) {
            return Err("--split and --with-passwords go with --xep0227 only".into());
        }
        if self.first_user.checked_add(self.users).is_none() {
            return Err("--first-user and --users are too large together".into());
        }
        if self.users == 0 || self.users > USERS_MAX {
            return Err(format!("--users must be 1 to {USERS_MAX}"));
        }
        let most = contacts_max(&self.domain);
        let mean_max = match self.graph {
            Graph::Groups => most,
            Graph::PowerLaw => (most / POWER_LAW_SHARE).min(self.users - 1),
        };
        if self.contacts > mean_max {
            let graph = self.graph.name();
            return Err(format!("--contacts must be at most {mean_max} with --graph {graph} and so many users"));
        }
        let pairs = u64::from(self.users) * u64::from(self.contacts) / 2;
        if self.graph == Graph::PowerLaw && pairs > PAIRS_MAX {
            return Err(format!("--users and --contacts make {pairs} pairs, power-law at most {PAIRS_MAX}"));
        }
        Ok(())
    }
}
