//! What came of every message, and of every socket.
//!
//! A message is known by its number, which is its `id`. It is *acknowledged* when an `<a/>` or `<resumed/>` of
//! XEP-0198 covers it; one without 0198 counts so if the socket it went out on lived until all had come to rest. It is
//! *lost* if it was acknowledged, was not refused by an error, and never came. It came *double* if it came more often
//! than its sender sent it: who cannot resume sends again what was not acknowledged, and may be heard twice.

use super::limits::EXAMPLES_MAX;
use serde_json::{Value, json};
use std::fmt;
use std::str::FromStr;
use std::time::Instant;

/// How a client bears the loss of its socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Class {
    /// XEP-0198; resumes its stream.
    Resume,
    /// XEP-0198 for acknowledgements alone; logs in anew, and sends again what was not acknowledged.
    Anew,
    /// Without XEP-0198.
    Plain,
}

impl Class {
    pub(super) const ALL: [Class; 3] = [Class::Resume, Class::Anew, Class::Plain];

    pub(super) fn name(self) -> &'static str {
        match self {
            Class::Resume => "resume",
            Class::Anew => "anew",
            Class::Plain => "without 0198",
        }
    }

    fn index(self) -> usize {
        match self {
            Class::Resume => 0,
            Class::Anew => 1,
            Class::Plain => 2,
        }
    }
}

/// Shares of the three classes, as `2:1:1`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mix([u32; 3]);

impl FromStr for Mix {
    type Err = String;

    fn from_str(text: &str) -> Result<Mix, String> {
        let shares: Option<Vec<u32>> = text.split(':').map(|share| share.parse().ok()).collect();
        match shares.as_deref() {
            Some(&[resume, anew, plain]) if (1..=1000).contains(&(resume + anew + plain)) => {
                Ok(Mix([resume, anew, plain]))
            }
            _ => Err(format!("{text} is not RESUME:ANEW:WITHOUT, as 2:1:1")),
        }
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mix([resume, anew, plain]) = self;
        write!(f, "{resume}:{anew}:{plain}")
    }
}

impl Mix {
    /// The class of a client: any run of neighbours has all of them in these shares.
    pub(super) fn class(self, client: u32) -> Class {
        let Mix([resume, anew, plain]) = self;
        let place = client % (resume + anew + plain).max(1);
        if place < resume {
            Class::Resume
        } else if place < resume + anew {
            Class::Anew
        } else {
            Class::Plain
        }
    }
}

/// Why a socket was lost whose session was bound.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Cause {
    /// Its edge was killed.
    Edge,
    /// The client's own network: this program cut it.
    Own,
}

/// One message.
#[derive(Clone, Debug)]
struct Message {
    from: u32,
    to: u32,
    /// How often its sender sent it, not counting what the server said it had not got.
    copies: u8,
    acknowledged: bool,
    refused: bool,
    /// How often it came, in all and in the receiver's session that had it last.
    came: u8,
    here: u8,
    session: u32,
    /// When it was sent and when it came last, seconds since the start.
    sent_s: f32,
    came_s: f32,
}

/// Counts of one class.
#[derive(Clone, Copy, Default, Debug)]
struct Tally {
    clients: u64,
    dropped_core: u64,
    dropped_edge: u64,
    dropped_own: u64,
    logins: u64,
    resumes_tried: u64,
    resumes_done: u64,
    stuck: u64,
}

/// See the module.
pub(super) struct Ledger {
    mix: Mix,
    begun: Instant,
    messages: Vec<Message>,
    tallies: [Tally; 3],
    /// Bound so far.
    sessions: u32,
    /// By receiver's class: came double within one session and its resumptions, and in a later session.
    doubled: [u64; 3],
    doubled_later: [u64; 3],
    /// Came when its receiver logged in once more at the end.
    late: u64,
    /// A login is the last one: what comes now should have come before.
    pub(super) last_login: bool,
    strangers: u64,
    violations: u64,
    failed_logins: u64,
    /// What went wrong, some of it.
    examples: Vec<String>,
}

impl Ledger {
    pub(super) fn new(mix: Mix, clients: u32) -> Ledger {
        let mut tallies = [Tally::default(); 3];
        for client in 0..clients {
            if let Some(tally) = tallies.get_mut(mix.class(client).index()) {
                tally.clients += 1;
            }
        }
        Ledger {
            mix,
            begun: Instant::now(),
            messages: Vec::new(),
            tallies,
            sessions: 0,
            doubled: [0; 3],
            doubled_later: [0; 3],
            late: 0,
            last_login: false,
            strangers: 0,
            violations: 0,
            failed_logins: 0,
            examples: Vec::new(),
        }
    }

    fn tally(&mut self, client: u32) -> &mut Tally {
        let [resume, anew, plain] = &mut self.tallies;
        match self.mix.class(client) {
            Class::Resume => resume,
            Class::Anew => anew,
            Class::Plain => plain,
        }
    }

    fn example(&mut self, text: impl FnOnce() -> String) {
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(text());
        }
    }

    /// The number of a new message.
    pub(super) fn sent(&mut self, from: u32, to: u32) -> u32 {
        let number = u32::try_from(self.messages.len()).unwrap_or(u32::MAX);
        self.messages.push(Message {
            from,
            to,
            copies: 1,
            acknowledged: false,
            refused: false,
            came: 0,
            here: 0,
            session: 0,
            sent_s: self.begun.elapsed().as_secs_f32(),
            came_s: 0.0,
        });
        number
    }

    fn message(&mut self, number: u32) -> Option<&mut Message> {
        self.messages.get_mut(number as usize)
    }

    pub(super) fn receiver(&self, number: u32) -> u32 {
        self.messages.get(number as usize).map_or(0, |message| message.to)
    }

    /// Its sender cannot know whether it arrived, and sends it again.
    pub(super) fn repeated(&mut self, number: u32) {
        if let Some(message) = self.message(number) {
            message.copies = message.copies.saturating_add(1);
        }
    }

    pub(super) fn acknowledged(&mut self, number: u32) {
        if let Some(message) = self.message(number) {
            message.acknowledged = true;
        }
    }

    /// An error came back.
    pub(super) fn refused(&mut self, number: u32) {
        if let Some(message) = self.message(number) {
            message.refused = true;
        }
    }

    /// It came to `user`, in this session of its.
    pub(super) fn came(&mut self, user: u32, session: u32, number: u32) {
        let (last_login, class, now_s) = (self.last_login, self.mix.class(user), self.begun.elapsed().as_secs_f32());
        let Some(message) = self.message(number).filter(|message| message.to == user) else {
            self.strangers += 1;
            return self.example(|| format!("user{user} got message {number}, which is not its"));
        };
        let before = message.came;
        message.came = before.saturating_add(1);
        if message.session != session {
            (message.session, message.here) = (session, 0);
        }
        message.here = message.here.saturating_add(1);
        let (within, more) = (message.here > message.copies, message.came > message.copies);
        let (from, sent_s, before_s) = (message.from, message.sent_s, std::mem::replace(&mut message.came_s, now_s));
        let late = last_login && before == 0;
        self.late += u64::from(late);
        let counts = if within { &mut self.doubled } else { &mut self.doubled_later };
        if let Some(count) = counts.get_mut(class.index()).filter(|_| within || more) {
            *count += 1;
        }
        let (sender, receiver) = (self.mix.class(from).name(), class.name());
        if late {
            self.example(|| {
                format!(
                    "message {number} of user{from} ({sender}), sent at {sent_s:.1} s, came to user{user} ({receiver}) \
                     only at its next login, at {now_s:.1} s"
                )
            });
        }
        if within {
            self.example(|| {
                format!(
                    "message {number} of user{from} ({sender}), sent at {sent_s:.1} s, came to user{user} ({receiver}) at \
                     {before_s:.1} s and in the same session at {now_s:.1} s"
                )
            });
        }
    }

    /// A socket with a bound session is gone. `why` is what the server said, if anything.
    pub(super) fn dropped(&mut self, user: u32, cause: Option<Cause>, why: &str, fault: &str) {
        let tally = self.tally(user);
        match cause {
            Some(Cause::Edge) => tally.dropped_edge += 1,
            Some(Cause::Own) => tally.dropped_own += 1,
            None => {
                tally.dropped_core += 1;
                self.example(|| format!("user{user} lost its socket though no edge failed: {why} (after: {fault})"));
            }
        }
    }

    /// Names its new session.
    pub(super) fn logged_in(&mut self, user: u32) -> u32 {
        self.tally(user).logins += 1;
        self.sessions += 1;
        self.sessions
    }

    pub(super) fn login_failed(&mut self) {
        self.failed_logins += 1;
    }

    pub(super) fn resuming(&mut self, user: u32) {
        self.tally(user).resumes_tried += 1;
    }

    pub(super) fn resumed(&mut self, user: u32) {
        self.tally(user).resumes_done += 1;
    }

    /// The server broke the protocol.
    pub(super) fn violation(&mut self, user: u32, what: &str) {
        self.violations += 1;
        self.example(|| format!("user{user}: {what}"));
    }

    /// At the end it does not answer any more.
    pub(super) fn stuck(&mut self, user: u32, how: &str) {
        self.tally(user).stuck += 1;
        self.example(|| format!("user{user} is stuck: {how}"));
    }

    /// Messages that came, however often.
    pub(super) fn delivered(&self) -> usize {
        self.messages.iter().filter(|message| message.came > 0).count()
    }

    /// Messages of which nothing has been heard: they may be on their way, also where their sender is never told.
    pub(super) fn under_way(&self) -> usize {
        self.messages.iter().filter(|message| message.came == 0 && !message.refused).count()
    }

    /// Messages that must have come and have not.
    #[cfg(test)]
    pub(super) fn lost(&self) -> usize {
        self.messages.iter().filter(|message| message.is_lost()).count()
    }

    /// Adds up.
    pub(super) fn close(mut self) -> Closed {
        let mut classes = Class::ALL.map(|class| {
            let index = class.index();
            let tally = self.tallies.get(index).copied().unwrap_or_default();
            Row {
                class,
                tally,
                doubled: self.doubled.get(index).copied().unwrap_or_default(),
                doubled_later: self.doubled_later.get(index).copied().unwrap_or_default(),
                ..Row::of(class)
            }
        });
        let mut lost = Vec::new();
        for (number, message) in self.messages.iter().enumerate() {
            if let Some(row) = classes.get_mut(self.mix.class(message.from).index()) {
                row.sent += 1;
                row.acknowledged += u64::from(message.acknowledged);
                row.refused += u64::from(message.refused);
                row.lost += u64::from(message.is_lost());
                row.repeated += u64::from(message.copies > 1);
            }
            if let Some(row) = classes.get_mut(self.mix.class(message.to).index()) {
                row.delivered += u64::from(message.came > 0);
            }
            if message.is_lost() && lost.len() < EXAMPLES_MAX {
                let (from, to) = (message.from, message.to);
                let (class, sent_s) = (|user| self.mix.class(user).name(), message.sent_s);
                lost.push(format!(
                    "message {number} of user{from} ({}) to user{to} ({}), sent at {sent_s:.1} s, is lost",
                    class(from),
                    class(to)
                ));
            }
        }
        self.examples.extend(lost);
        Closed {
            classes,
            late: self.late,
            strangers: self.strangers,
            violations: self.violations,
            failed_logins: self.failed_logins,
            examples: self.examples,
        }
    }
}

impl Message {
    fn is_lost(&self) -> bool {
        self.acknowledged && !self.refused && self.came == 0
    }
}

/// One class, added up: as sender (`sent` to `lost`), as receiver (`delivered` and `doubled`), and its sockets.
#[derive(Clone, Debug)]
pub(super) struct Row {
    class: Class,
    tally: Tally,
    sent: u64,
    acknowledged: u64,
    refused: u64,
    repeated: u64,
    lost: u64,
    delivered: u64,
    doubled: u64,
    doubled_later: u64,
}

impl Row {
    fn of(class: Class) -> Row {
        Row {
            class,
            tally: Tally::default(),
            sent: 0,
            acknowledged: 0,
            refused: 0,
            repeated: 0,
            lost: 0,
            delivered: 0,
            doubled: 0,
            doubled_later: 0,
        }
    }

    /// Name and value of each column.
    fn columns(&self) -> [(&'static str, u64); 17] {
        let tally = &self.tally;
        [
            ("clients", tally.clients),
            ("sent", self.sent),
            ("acknowledged", self.acknowledged),
            ("refused", self.refused),
            ("sent again", self.repeated),
            ("lost", self.lost),
            ("delivered", self.delivered),
            ("doubled in a session", self.doubled),
            ("doubled across sessions", self.doubled_later),
            ("sockets dropped by core failures", tally.dropped_core),
            ("sockets dropped by edge failures", tally.dropped_edge),
            ("sockets cut by the client", tally.dropped_own),
            ("sockets dropped in all", tally.dropped_core + tally.dropped_edge + tally.dropped_own),
            ("logins", tally.logins),
            ("resumptions tried", tally.resumes_tried),
            ("resumptions done", tally.resumes_done),
            ("stuck at the end", tally.stuck),
        ]
    }
}

/// What a run found out about messages and sockets.
#[derive(Clone, Debug)]
pub(super) struct Closed {
    classes: [Row; 3],
    /// Came only when its receiver, who was there all the time, logged in once more.
    late: u64,
    strangers: u64,
    violations: u64,
    failed_logins: u64,
    examples: Vec<String>,
}

impl Closed {
    /// What must not be and is; empty if the run is good.
    pub(super) fn faults(&self) -> Vec<String> {
        let sum = |of: fn(&Row) -> u64| self.classes.iter().map(of).sum::<u64>();
        let doubled = self.classes.iter().filter(|row| row.class == Class::Resume).map(|row| row.doubled).sum::<u64>();
        [
            (sum(|row| row.lost), "acknowledged messages lost"),
            (self.late, "messages that waited for another login though their receiver was there"),
            (doubled, "messages doubled for clients that resume"),
            (sum(|row| row.tally.dropped_core), "sockets dropped though no edge failed"),
            (sum(|row| row.tally.stuck), "clients that are stuck"),
            (self.strangers, "messages to somebody else"),
            (self.violations, "breaches of the protocol"),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect()
    }

    /// For people.
    pub(super) fn table(&self) -> String {
        let columns = self.classes.each_ref().map(Row::columns);
        let [resume, anew, plain] = &columns;
        let names = Class::ALL.map(Class::name);
        let line = |what: &str, cells: [&str; 3], all: &str| {
            let [first, second, third] = cells;
            format!("  {what:<33}{first:>14}{second:>14}{third:>14}{all:>14}\n")
        };
        let mut text = line("", names, "all");
        for ((first, second), third) in resume.iter().zip(anew).zip(plain) {
            let cells = [first.1, second.1, third.1];
            let all = cells.iter().sum::<u64>().to_string();
            let cells = cells.map(|count| count.to_string());
            text.push_str(&line(first.0, cells.each_ref().map(String::as_str), &all));
        }
        text.push_str(&line("logins that had to be tried again", ["", "", ""], &self.failed_logins.to_string()));
        for example in &self.examples {
            text.push_str(&format!("  note: {example}\n"));
        }
        text
    }

    pub(super) fn json(&self) -> Value {
        let class = |row: &Row| {
            let columns = row.columns().into_iter().map(|(name, count)| (name.to_owned(), json!(count)));
            (row.class.name().to_owned(), Value::Object(columns.collect()))
        };
        json!({
            "classes": self.classes.iter().map(class).collect::<serde_json::Map<_, _>>(),
            "failed_logins": self.failed_logins,
            "faults": self.faults(),
            "notes": self.examples,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger() -> Ledger {
        Ledger::new("1:1:1".parse().unwrap(), 3)
    }

    #[test]
    fn the_mix_is_shared_out() {
        let mix: Mix = "2:1:1".parse().unwrap();
        let classes: Vec<_> = (0..5).map(|client| mix.class(client)).collect();
        assert_eq!(classes, [Class::Resume, Class::Resume, Class::Anew, Class::Plain, Class::Resume]);
        assert!("0:0:0".parse::<Mix>().is_err() && "1:1".parse::<Mix>().is_err() && "a:1:1".parse::<Mix>().is_err());
    }

    #[test]
    fn lost_is_what_was_acknowledged_and_neither_came_nor_was_refused() {
        let mut ledger = ledger();
        let numbers: Vec<u32> = (0..4).map(|_| ledger.sent(0, 1)).collect();
        for number in &numbers[..3] {
            ledger.acknowledged(*number);
        }
        ledger.came(1, 0, numbers[0]);
        ledger.refused(numbers[1]);
        assert_eq!((ledger.lost(), ledger.under_way()), (1, 2));
        let closed = ledger.close();
        assert_eq!(closed.faults(), ["1 acknowledged messages lost"]);
        assert!(
            closed.examples[0].contains("message 2 of user0 (resume) to user1 (anew), sent at 0.0 s, is lost"),
            "{:?}",
            closed.examples
        );
    }

    #[test]
    fn doubled_is_what_came_more_often_than_it_was_sent() {
        let mut ledger = ledger();
        let (once, twice) = (ledger.sent(1, 0), ledger.sent(1, 0));
        ledger.repeated(twice);
        for number in [once, twice, twice] {
            ledger.came(0, 7, number);
        }
        assert_eq!((ledger.doubled, ledger.doubled_later), ([0; 3], [0; 3]));
        ledger.came(0, 7, once); // in the same session
        ledger.came(0, 8, once); // and after another login
        ledger.came(0, 8, twice);
        assert_eq!((ledger.doubled, ledger.doubled_later), ([1, 0, 0], [2, 0, 0]));
        assert_eq!(ledger.close().faults(), ["1 messages doubled for clients that resume"]);
    }

    #[test]
    fn only_unexplained_drops_are_the_cores() {
        let mut ledger = ledger();
        ledger.dropped(0, Some(Cause::Edge), "", "");
        ledger.dropped(2, Some(Cause::Own), "", "");
        assert_eq!(ledger.tallies.map(|tally| tally.dropped_core), [0, 0, 0]);
        ledger.dropped(2, None, "reset", "kill -9 core");
        ledger.came(2, 0, 9);
        let closed = ledger.close();
        assert_eq!(closed.faults(), ["1 sockets dropped though no edge failed", "1 messages to somebody else"]);
        assert!(closed.table().contains("reset (after: kill -9 core)"));
        assert_eq!(closed.json()["classes"]["without 0198"]["sockets dropped in all"], 2);
    }
}
