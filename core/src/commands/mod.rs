//! The operator's commands: each is described once, as one entry of this table and one function.
//! `hearthctl` has its parsing, help and completion from here, the control socket its checks, the audit
//! log what counts as a change.
//!
//! ```text
//!  hearthctl ─Request─▶ control socket: find, Arguments::parse, audit ─▶ Run
//!                          ├─ Owner, First: one shard        ─▶ its Reply (shard 0 passes on to the owner)
//!                          ├─ All: every shard, Shape::add   ─▶ one Reply
//!                          └─ Process: the control thread    ─▶ its Reply
//! ```
//! To add one: an entry in its group's file, and its function there.

mod arguments;
mod audit;
mod backup;
#[cfg(test)]
mod bounded;
mod completion;
mod deletion;
mod dns;
pub(crate) mod domain;
pub(crate) mod edge;
mod features;
mod limits;
mod log;
mod nearest;
mod result;
mod roster;
mod session;
mod status;
mod user;

pub(crate) use arguments::missing;
pub use arguments::{Arguments, Value};
pub use backup::did as did_backup;
pub use deletion::Deletions;
pub use nearest::nearest;
pub use result::{Add, Did, Done, FILE, Field, File, Look, Progress, Refused, RefusedKind, Reply, Rows, Shape};

use crate::audit::Audit;
use crate::config::Config;
use crate::cx::Cx;
use crate::runtime::EdgeAdmin;
use crate::slots::handover;
use hearth_storage::StorageHandle;
use hearth_wire::BareJid;
use hearth_wire::ids::Slot;
use parking_lot::Mutex;
use std::fmt;
use std::sync::Arc;

/// Names a command under way on a shard.
pub type ControlId = u64;

/// Every group, in the order of the help.
pub const GROUPS: &[&Group] = &[
    &status::GROUP,
    &user::GROUP,
    &roster::GROUP,
    &session::GROUP,
    &domain::GROUP,
    &edge::GROUP,
    &dns::GROUP,
    &features::GROUP,
    &limits::GROUP,
    &log::GROUP,
    &audit::GROUP,
    &backup::GROUP,
    &backup::RESTORE_GROUP,
    &completion::GROUP,
];

/// Commands with a first word in common, or a single command of one word.
pub struct Group {
    pub name: &'static str,
    /// One line.
    pub help: &'static str,
    pub commands: &'static [Command],
}

/// One command.
pub struct Command {
    /// Its words, the first of which is its group's: `user add`.
    pub name: &'static str,
    /// One line.
    pub help: &'static str,
    /// What else there is to say, in lines of at most 90 characters.
    pub details: &'static str,
    pub parameters: &'static [Parameter],
    /// What follows `hearthctl`, at least one.
    pub examples: &'static [&'static str],
    pub who: Who,
    /// Whether it changes anything: then it stands in the audit log.
    pub changes: bool,
    /// Asked before it runs, with `{parameter}` filled in; `--yes` answers it.
    pub confirm: Option<&'static str>,
    pub result: Shape,
    pub run: Run,
}

impl Command {
    /// What most commands have in common: an operator's question without parameters.
    pub const BASE: Command = Command {
        name: "",
        help: "",
        details: "",
        parameters: &[],
        examples: &[],
        who: Who::Operator,
        changes: false,
        confirm: None,
        result: Shape::Did("subject"),
        run: Run::Here,
    };

    /// The parameter of this name.
    pub fn parameter(&self, name: &str) -> Option<&'static Parameter> {
        self.parameters.iter().find(|parameter| parameter.name == name)
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Command({})", self.name)
    }
}

/// Who may run a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Who {
    /// Whoever may open the control socket.
    Operator,
    /// Administrators of a domain too, for that domain and its accounts only.
    DomainAdmin,
}

/// One parameter.
pub struct Parameter {
    pub name: &'static str,
    pub kind: Kind,
    pub need: Need,
    /// One line.
    pub help: &'static str,
}

/// How a parameter is given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Need {
    /// Must be there; on a command line by its place.
    Required,
    /// May be left out; on a command line by its place.
    Optional,
    /// May be left out; on a command line as `--name VALUE`, or `--name` if it is a switch.
    Option,
    /// Any number of times, as `--name VALUE`.
    Many,
}

impl Parameter {
    pub const fn required(name: &'static str, kind: Kind, help: &'static str) -> Parameter {
        Parameter { name, kind, need: Need::Required, help }
    }

    pub const fn optional(name: &'static str, kind: Kind, help: &'static str) -> Parameter {
        Parameter { name, kind, need: Need::Optional, help }
    }

    pub const fn option(name: &'static str, kind: Kind, help: &'static str) -> Parameter {
        Parameter { name, kind, need: Need::Option, help }
    }

    pub const fn many(name: &'static str, kind: Kind, help: &'static str) -> Parameter {
        Parameter { name, kind, need: Need::Many, help }
    }
}

/// What a parameter's value is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// `name@domain`; `hearthctl` completes a bare name with the only domain there is.
    Account,
    /// Any address.
    Jid,
    /// A domain in any case, prepared (RFC 7622 §3.2).
    Domain,
    /// Text without control characters, at most [`crate::limits::COMMAND_TEXT_BYTES_MAX`].
    Text,
    /// Never on a command line, in a log or in the audit log: asked for, read from standard input, or
    /// made by `hearthctl`.
    Secret,
    /// Between these, inclusive.
    Number { min: u64, max: u64 },
    /// There or not.
    Switch,
    /// A folder of the core's machine; `hearthctl` makes its path absolute.
    Folder,
    /// Where `hearthctl` writes [`Did::file`]: never sent.
    OutFile,
    /// One of these words.
    Choice(&'static [&'static str]),
}

/// Answers on a shard: now, or (`None`) later by [`answer`] with the call's id.
pub type OnShard = fn(&mut Cx<'_>, Call) -> Result<Option<Done>, Refused>;

/// Answers on the control thread, which may wait.
pub type OnProcess = fn(&Process<'_>, &Arguments) -> Result<Done, Refused>;

/// Where a command runs, and what runs there.
#[derive(Clone, Copy)]
pub enum Run {
    /// The shard that owns the account this parameter names.
    Owner(&'static str, OnShard),
    /// As `Owner` if the parameter is there, else as `All`.
    OwnerOrAll(&'static str, OnShard),
    /// Every shard; the answers add up by the command's [`Shape`].
    All(OnShard),
    /// Shard 0: what concerns no account, or needs one order.
    First(OnShard),
    /// The control thread.
    Process(OnProcess),
    /// `hearthctl` itself; no core is needed.
    Here,
}

/// A command as a shard gets it.
#[derive(Clone, Debug)]
pub struct Call {
    pub id: ControlId,
    /// What it is about: whichever shard gets it passes it on to the one that owns this slot.
    pub slot: Option<Slot>,
    /// How often it was passed on.
    pub hops: u8,
    pub run: OnShard,
    pub arguments: Arguments,
}

impl Call {
    /// A call that has no id yet.
    pub fn new(slot: Option<Slot>, run: OnShard, arguments: Arguments) -> Call {
        Call { id: 0, slot, hops: 0, run, arguments }
    }
}

/// What commands of the process may use.
pub struct Process<'a> {
    pub(crate) config: &'a Mutex<Arc<Config>>,
    pub(crate) edges: &'a EdgeAdmin,
    pub audit: &'a Audit,
    pub(crate) storage: &'a StorageHandle,
    /// Milliseconds since 1970, UTC: now.
    pub utc_ms: u64,
    /// Tells the operator how far it is; false: nobody waits any more.
    pub progress: &'a dyn Fn(Progress) -> bool,
    /// Held while domains change: one change at a time, in one order.
    pub domains_changing: &'a Mutex<()>,
    pub deletions: &'a Deletions,
    /// Runs work on a thread of its own.
    pub background: &'a dyn Fn(Work),
    /// Asks shards and adds up what they did.
    pub shards: &'a dyn Fn(Target<'_>, OnShard, &Arguments) -> Result<Done, Refused>,
}

/// What goes on after its command was answered.
pub type Work = Box<dyn FnOnce(&Process<'_>) + Send>;

/// Which shards.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// Shard 0.
    First,
    /// Every shard.
    All,
    /// The one that owns this account.
    Owner(&'a BareJid),
    /// The ones that own these accounts, each called with its `account`.
    Owners(&'a [BareJid]),
}

impl Process<'_> {
    /// The configuration in force.
    pub fn config(&self) -> Arc<Config> {
        self.config.lock().clone()
    }

    /// Runs a function on shards and waits for them; figures of what was done are summed.
    pub fn ask(&self, target: Target<'_>, run: OnShard, arguments: &Arguments) -> Result<Done, Refused> {
        (self.shards)(target, run, arguments)
    }
}

/// Every command.
pub fn all() -> impl Iterator<Item = &'static Command> {
    GROUPS.iter().flat_map(|group| group.commands)
}

/// The command of this name.
pub fn find(name: &str) -> Option<&'static Command> {
    all().find(|command| command.name == name)
}

/// Runs one command on a shard, the one that owns what it is about.
pub fn on_call(cx: &mut Cx<'_>, call: Call) {
    let id = call.id;
    match call.slot.map(|slot| cx.shard.slot_owner(slot)).filter(|owner| *owner != cx.shard.settings.index) {
        None => {}
        // Its news of the slot are on their way before the call is, so it finds its end.
        Some(owner) if handover::is_known(owner) && call.hops < crate::limits::HOPS_MAX => {
            let hops = call.hops.saturating_add(1);
            return cx.out.passed_on.push((owner, Call { hops, ..call }));
        }
        Some(_) => {
            let message = "what this is about is moving from one shard to another";
            return answer(cx, id, Err(Refused::new(RefusedKind::Unavailable, message, "try again in a moment")));
        }
    }
    match (call.run)(cx, call) {
        Ok(Some(done)) => answer(cx, id, Ok(done)),
        Ok(None) => {}
        Err(refused) => answer(cx, id, Err(refused)),
    }
}

/// Answers a command whose function answered `None`.
pub fn answer(cx: &mut Cx<'_>, id: ControlId, result: Result<Done, Refused>) {
    cx.out.replies.push((id, result.into()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// What the types cannot say about the table.
    #[test]
    fn the_table_is_sound() {
        let names: BTreeSet<_> = all().map(|command| command.name).collect();
        assert_eq!(names.len(), all().count(), "a name twice");
        for group in GROUPS {
            assert!(!group.help.is_empty() && !group.commands.is_empty(), "{}", group.name);
            for command in group.commands {
                assert_eq!(command.name.split(' ').next(), Some(group.name), "{}", command.name);
                check(command);
            }
        }
    }

    fn check(command: &Command) {
        let name = command.name;
        assert!(command.help.ends_with('.') && command.help.len() <= 90, "{name}: help is one sentence");
        assert!(!command.examples.is_empty(), "{name}: an example");
        for example in command.examples {
            assert!(example.contains(name), "{name}: {example}");
        }
        let mut optional = false;
        for parameter in command.parameters {
            let Parameter { name: parameter_name, kind, need, help } = parameter;
            assert!(!help.is_empty() && !help.ends_with('.'), "{name} {parameter_name}: {help}");
            assert!(parameter_name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name} {parameter_name}");
            assert!(!["yes", "json", "data", "socket", "help"].contains(parameter_name), "{name} {parameter_name}");
            assert!(!(*need == Need::Required && optional), "{name} {parameter_name}: behind an optional one");
            optional |= *need == Need::Optional;
            assert!(*kind != Kind::Switch || *need == Need::Option, "{name} {parameter_name}: a switch is an option");
        }
        let secrets = command.parameters.iter().filter(|parameter| parameter.kind == Kind::Secret);
        assert!(secrets.count() <= 1, "{name}: standard input gives one secret");
        if let Run::Owner(of, _) | Run::OwnerOrAll(of, _) = command.run {
            let of = command.parameter(of).unwrap_or_else(|| panic!("{name}: {of}"));
            assert!(matches!(of.kind, Kind::Account | Kind::Jid), "{name}: {}", of.name);
        }
        assert!(command.confirm.is_none() || command.changes, "{name}: asks, and changes nothing");
        if command.who == Who::DomainAdmin {
            let of_domain = |p: &Parameter| matches!(p.kind, Kind::Account | Kind::Jid | Kind::Domain);
            assert!(command.parameters.iter().any(of_domain), "{name}: whose domain?");
        }
    }
}
