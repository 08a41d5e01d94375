//! What fails, when, and for how long: drawn from a seed.

use hearth_core::random::SeededRandom;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The two edges.
pub(super) const EDGES: usize = 2;

/// A process of the servers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Part {
    Core,
    Edge(usize),
}

impl Part {
    pub(super) const ALL: [Part; EDGES + 1] = [Part::Core, Part::Edge(0), Part::Edge(1)];
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Core => f.write_str("core"),
            Part::Edge(index) => write!(f, "edge{}", index + 1),
        }
    }
}

/// What a run may do to its servers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// kill -9 of the core, of an edge, of all three.
    Core,
    Edge,
    All,
    /// SIGTERM of the core, as when its package is upgraded.
    Upgrade,
    /// SIGSTOP of core or edge, then SIGCONT.
    Pause,
    /// The link between an edge and the core is cut, or carries nothing.
    Link,
    /// Sockets of clients with XEP-0198 are cut at their end.
    Clients,
    /// The core's disk is full. Only on one of its own (`--disk`).
    Disk,
}

impl Kind {
    const ALL: [(Kind, &'static str); 8] = [
        (Kind::Core, "core"),
        (Kind::Edge, "edge"),
        (Kind::All, "all"),
        (Kind::Upgrade, "upgrade"),
        (Kind::Pause, "pause"),
        (Kind::Link, "link"),
        (Kind::Clients, "clients"),
        (Kind::Disk, "disk"),
    ];

    /// Those that count as kills, and how likely each is against the others.
    fn kill_weight(self) -> u64 {
        match self {
            Kind::Core => 5,
            Kind::Edge => 3,
            Kind::All => 2,
            Kind::Upgrade | Kind::Pause | Kind::Link | Kind::Clients | Kind::Disk => 0,
        }
    }
}

/// Kinds, as `core,edge,pause`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kinds(pub(super) Vec<Kind>);

impl FromStr for Kinds {
    type Err = String;

    fn from_str(text: &str) -> Result<Kinds, String> {
        let one = |word: &str| {
            let found = Kind::ALL.iter().find(|(_, name)| *name == word);
            let names = Kind::ALL.map(|(_, name)| name).join(", ");
            found.map(|(kind, _)| *kind).ok_or_else(|| format!("unknown fault {word}: {names}"))
        };
        text.split(',').map(one).collect::<Result<_, _>>().map(Kinds)
    }
}

impl Default for Kinds {
    fn default() -> Kinds {
        Kinds(Kind::ALL.iter().map(|(kind, _)| *kind).filter(|kind| *kind != Kind::Disk).collect())
    }
}

/// One fault; times are how long it lasts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    /// kill -9; started again after so long.
    Kill(Part, Duration),
    KillAll(Duration),
    /// SIGTERM; started again when it has ended.
    Upgrade,
    Pause(Part, Duration),
    Cut(Duration),
    Stall(Duration),
    /// One in so many sockets.
    Clients(u64),
    FullDisk(Duration),
}

impl Fault {
    pub(super) fn is_kill(&self) -> bool {
        matches!(self, Fault::Kill(..) | Fault::KillAll(_))
    }

    pub(super) fn lasts(&self) -> Duration {
        match self {
            Fault::Kill(_, time)
            | Fault::KillAll(time)
            | Fault::Pause(_, time)
            | Fault::Cut(time)
            | Fault::Stall(time)
            | Fault::FullDisk(time) => *time,
            Fault::Upgrade | Fault::Clients(_) => Duration::ZERO,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.lasts().as_secs_f64();
        match self {
            Fault::Kill(part, _) => write!(f, "kill -9 {part}, away {seconds:.1} s"),
            Fault::KillAll(_) => write!(f, "kill -9 all, away {seconds:.1} s"),
            Fault::Upgrade => f.write_str("core stopped and started"),
            Fault::Pause(part, _) => write!(f, "{part} stands still {seconds:.1} s"),
            Fault::Cut(_) => write!(f, "link of edge2 cut {seconds:.1} s"),
            Fault::Stall(_) => write!(f, "link of edge2 stalls {seconds:.1} s"),
            Fault::Clients(share) => write!(f, "one in {share} clients loses its network"),
            Fault::FullDisk(_) => write!(f, "disk full {seconds:.1} s"),
        }
    }
}

/// A fault, and the pause between the beginning of the one before and its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Planned {
    pub(super) pause: Duration,
    pub(super) fault: Fault,
}

/// So many kills, and half as many other faults (if nothing is to be killed, so many others), begun within about so
/// long. Pauses are uneven: many faults fall into the one before, or into what follows it.
pub(super) fn plan(seed: u64, kills: u32, time: Duration, kinds: &Kinds) -> Vec<Planned> {
    let mut random = SeededRandom::new(seed);
    let killers: Vec<Kind> = kinds.0.iter().copied().filter(|kind| kind.kill_weight() > 0).collect();
    let others: Vec<Kind> = kinds.0.iter().copied().filter(|kind| kind.kill_weight() == 0).collect();
    let (kills, more) = match (killers.is_empty(), others.is_empty()) {
        (true, _) => (0, kills),
        (false, true) => (kills, 0),
        (false, false) => (kills, kills.div_ceil(2)),
    };
    let mut faults: Vec<Fault> = (0..kills).filter_map(|_| draw_kill(&mut random, &killers)).collect();
    // Each kind before any comes again.
    let others = others.iter().cycle().take(more as usize);
    faults.extend(others.map(|kind| draw(&mut random, *kind)));
    for last in (1..faults.len()).rev() {
        let place = usize::try_from(below(&mut random, last as u64 + 1)).unwrap_or(0);
        faults.swap(last, place);
    }
    let weights: Vec<f64> = faults.iter().map(|_| unit(&mut random).powi(3)).collect();
    let unit = time.as_secs_f64() / weights.iter().sum::<f64>().max(f64::MIN_POSITIVE);
    let pauses = weights.iter().map(|weight| Duration::from_secs_f64(weight * unit));
    pauses.zip(faults).map(|(pause, fault)| Planned { pause, fault }).collect()
}

fn draw_kill(random: &mut SeededRandom, killers: &[Kind]) -> Option<Fault> {
    let total = killers.iter().map(|kind| kind.kill_weight()).sum::<u64>();
    let mut place = below(random, total.max(1));
    let kind = killers.iter().copied().find(|kind| {
        let here = place < kind.kill_weight();
        place = place.saturating_sub(kind.kill_weight());
        here
    })?;
    Some(draw(random, kind))
}

fn draw(random: &mut SeededRandom, kind: Kind) -> Fault {
    // Short ones more often.
    let share = unit(random).powi(2);
    let seconds = |least: f64, most: f64| Duration::from_secs_f64(least + (most - least) * share);
    match kind {
        Kind::Core => Fault::Kill(Part::Core, seconds(0.0, 4.0)),
        Kind::All => Fault::KillAll(seconds(0.0, 3.0)),
        Kind::Upgrade => Fault::Upgrade,
        Kind::Disk => Fault::FullDisk(seconds(1.0, 5.0)),
        Kind::Edge => {
            // Now and then for longer than the core waits for it.
            let away = if below(random, 5) == 0 { Duration::from_secs(11) } else { seconds(0.0, 3.0) };
            Fault::Kill(Part::Edge(edge(random)), away)
        }
        Kind::Pause => {
            let part = if below(random, 2) == 0 { Part::Core } else { Part::Edge(edge(random)) };
            Fault::Pause(part, seconds(1.0, 5.0))
        }
        Kind::Link => {
            let time = seconds(0.1, 5.0);
            if below(random, 2) == 0 { Fault::Cut(time) } else { Fault::Stall(time) }
        }
        Kind::Clients => Fault::Clients(3 + below(random, 10)),
    }
}

fn edge(random: &mut SeededRandom) -> usize {
    usize::try_from(below(random, EDGES as u64)).unwrap_or(0)
}

/// A number below `end`.
pub(super) fn below(random: &mut SeededRandom, end: u64) -> u64 {
    random.next_u64() % end.max(1)
}

/// A number from 0 to 1.
fn unit(random: &mut SeededRandom) -> f64 {
    (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_has_its_kills_and_its_length_and_depends_on_the_seed_alone() {
        let time = Duration::from_secs(600);
        let planned = plan(7, 50, time, &Kinds::default());
        assert_eq!(planned.iter().filter(|planned| planned.fault.is_kill()).count(), 50);
        assert_eq!(planned.len(), 75);
        let total: Duration = planned.iter().map(|planned| planned.pause).sum();
        assert!(total.abs_diff(time) < Duration::from_secs(1), "{total:?}");
        assert_eq!(planned, plan(7, 50, time, &Kinds::default()));
        assert_ne!(planned, plan(8, 50, time, &Kinds::default()));
        for kind in
            ["kill -9 core", "kill -9 edge1", "kill -9 edge2", "kill -9 all", "stopped", "still", "cut", "stalls"]
        {
            assert!(planned.iter().any(|planned| planned.fault.to_string().contains(kind)), "{kind}");
        }
    }

    #[test]
    fn only_the_kinds_that_were_named() {
        let planned = plan(1, 9, Duration::from_secs(9), &"core".parse().unwrap());
        assert!(
            planned.len() == 9 && planned.iter().all(|planned| matches!(planned.fault, Fault::Kill(Part::Core, _)))
        );
        assert_eq!(plan(1, 9, Duration::from_secs(9), &"pause".parse().unwrap()).len(), 9);
        assert!("core,frob".parse::<Kinds>().unwrap_err().contains("upgrade"));
    }
}
