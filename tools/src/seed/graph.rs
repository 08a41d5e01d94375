//! Who is whose contact.

use super::limits::PICKS_MAX;
use hearth_core::random::SeededRandom;
use std::ops::Range;

/// Mutual contacts among a range of users.
pub(super) enum Friends {
    Nobody,
    /// Closed groups of this size in the order of numbers; the last may be smaller.
    Groups(u32),
    PowerLaw(PowerLaw),
}

impl Friends {
    /// The contacts of one of `users`, in order.
    pub(super) fn of(&self, user: u32, users: &Range<u32>) -> Vec<u32> {
        match self {
            Friends::Nobody => Vec::new(),
            Friends::Groups(size) => {
                let start = users.start + (user - users.start) / size * size;
                let end = start.saturating_add(*size).min(users.end);
                (start..end).filter(|contact| *contact != user).collect()
            }
            Friends::PowerLaw(graph) => graph.of(user - users.start).iter().map(|other| users.start + other).collect(),
        }
    }
}

/// A graph that grew by preferential attachment (Barabási and Albert 1999): each newcomer befriends some of those who
/// are there, with a chance in proportion to the contacts they have, so that few come to have very many. Nobody has
/// more than a limit, and newcomers befriend as many as keep the mean, the first of them everybody.
pub(super) struct PowerLaw {
    /// Where each user's contacts begin, and the end of the last.
    starts: Vec<u32>,
    contacts: Vec<u32>,
}

impl PowerLaw {
    /// Exactly `users` × `mean` / 2 pairs, rounded down, as long as `most` is some times `mean`.
    pub(super) fn grow(users: u32, mean: u32, most: u32, random: &mut SeededRandom) -> PowerLaw {
        let mut growth = Growth::new(users, most);
        let pairs = u64::from(users) * u64::from(mean) / 2;
        for newcomer in 1..users {
            let due = pairs * u64::from(newcomer) / u64::from(users - 1);
            let missing = due.saturating_sub(growth.ends.len() as u64 / 2);
            growth.befriend(newcomer, missing, random);
        }
        // Who came first has most: numbers are given anew, so that any part of the users is like any other.
        let mut numbers: Vec<u32> = (0..users).collect();
        for last in (1..users).rev() {
            numbers.swap(last as usize, below(last + 1, random) as usize);
        }
        PowerLaw::of_pairs(users, &growth.ends, &numbers)
    }

    fn of_pairs(users: u32, ends: &[u32], numbers: &[u32]) -> PowerLaw {
        let number = |end: u32| numbers.get(end as usize).copied().unwrap_or(end);
        let mut starts = vec![0; users as usize + 1];
        for end in ends {
            *at(&mut starts, number(*end) + 1) += 1;
        }
        let mut sum = 0;
        for start in &mut starts {
            sum += *start;
            *start = sum;
        }
        let (mut next, mut contacts) = (starts.clone(), vec![0; ends.len()]);
        for pair in ends.chunks_exact(2) {
            let [one, other] = [pair.first(), pair.last()].map(|end| number(end.copied().unwrap_or_default()));
            for (user, contact) in [(one, other), (other, one)] {
                let free = at(&mut next, user);
                *at(&mut contacts, *free) = contact;
                *free += 1;
            }
        }
        let graph = PowerLaw { starts, contacts: Vec::new() };
        for user in 0..users {
            if let Some(contacts) = contacts.get_mut(graph.range(user)) {
                contacts.sort_unstable();
            }
        }
        PowerLaw { contacts, ..graph }
    }

    fn range(&self, user: u32) -> Range<usize> {
        let start = |user: usize| self.starts.get(user).copied().unwrap_or_default() as usize;
        start(user as usize)..start(user as usize + 1)
    }

    /// Contacts of a user, by number from 0, in order.
    fn of(&self, user: u32) -> &[u32] {
        self.contacts.get(self.range(user)).unwrap_or_default()
    }
}

/// A graph while it grows.
struct Growth {
    /// The two ends of each pair. One that is drawn from them is somebody, with a chance in proportion to the contacts.
    ends: Vec<u32>,
    degrees: Vec<u32>,
    /// Which newcomer befriended a user last; 0 never is one.
    befriended_by: Vec<u32>,
    most: u32,
}

impl Growth {
    fn new(users: u32, most: u32) -> Growth {
        let (degrees, befriended_by) = (vec![0; users as usize], vec![0; users as usize]);
        Growth { ends: Vec::new(), degrees, befriended_by, most }
    }

    /// The newcomer befriends so many of those before it, or all.
    fn befriend(&mut self, newcomer: u32, wanted: u64, random: &mut SeededRandom) {
        let known = self.ends.len();
        for _ in 0..wanted.min(newcomer.into()) {
            let Some(other) = self.choose(newcomer, known, random) else { break };
            *at(&mut self.befriended_by, other) = newcomer;
            for end in [newcomer, other] {
                *at(&mut self.degrees, end) += 1;
                self.ends.push(end);
            }
        }
    }

    /// One of those before the newcomer, from the first `known` ends; anybody where luck does not help.
    fn choose(&self, newcomer: u32, known: usize, random: &mut SeededRandom) -> Option<u32> {
        let free = |user: &u32| {
            let get = |of: &[u32]| of.get(*user as usize).copied();
            get(&self.befriended_by) != Some(newcomer) && get(&self.degrees).is_some_and(|degree| degree < self.most)
        };
        let known = u32::try_from(known).unwrap_or(u32::MAX);
        let mut drawn =
            (0..PICKS_MAX).filter(|_| known > 0).filter_map(|_| self.ends.get(below(known, random) as usize));
        if let Some(end) = drawn.find(|end| free(end)) {
            return Some(*end);
        }
        let start = below(newcomer, random);
        (start..newcomer).chain(0..start).find(free)
    }
}

/// An element that is there: all numbers are below the lengths that the lists were made with.
#[expect(clippy::indexing_slicing, reason = "says what is wrong, in a tool")]
fn at(list: &mut [u32], index: u32) -> &mut u32 {
    &mut list[index as usize]
}

/// A number below `end`, which is not 0.
pub(super) fn below(end: u32, random: &mut SeededRandom) -> u32 {
    ((u64::from(end) * (random.next_u64() >> 32)) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grown(users: u32, mean: u32, most: u32, seed: u64) -> Vec<Vec<u32>> {
        let graph = PowerLaw::grow(users, mean, most, &mut SeededRandom::new(seed));
        (0..users).map(|user| graph.of(user).to_vec()).collect()
    }

    /// Every contact is somebody else, once, and mutual; returns how many pairs there are.
    fn pairs(graph: &[Vec<u32>]) -> usize {
        for (user, contacts) in (0..).zip(graph) {
            assert!(contacts.windows(2).all(|two| two[0] < two[1]), "{user}: {contacts:?}");
            for contact in contacts {
                assert_ne!(*contact, user);
                assert!(graph[*contact as usize].binary_search(&user).is_ok(), "{user} and {contact}");
            }
        }
        graph.iter().map(Vec::len).sum::<usize>() / 2
    }

    #[test]
    fn pairs_are_mutual_and_the_mean_is_exact() {
        for (users, mean) in [(2, 1), (3, 2), (26, 25), (27, 25), (40, 25), (501, 3), (2_000, 25), (2_000, 500)] {
            let graph = grown(users, mean, 2_000, 7);
            assert_eq!(pairs(&graph), (users * mean / 2) as usize, "{users}, {mean}");
        }
    }

    #[test]
    fn few_have_very_many() {
        let graph = grown(20_000, 24, 2_000, 1);
        let mut degrees: Vec<usize> = graph.iter().map(Vec::len).collect();
        degrees.sort_unstable();
        let (median, most) = (degrees[10_000], degrees[19_999]);
        // Half of the mean is what a newcomer brings; the exponent of 3 makes the median √2 of it.
        assert_eq!(degrees[0], 12);
        assert!((15..=19).contains(&median), "median {median}");
        assert!(most > 500, "most {most}");
        // P(degree ≥ k) falls as k⁻²: from 48 to 192 by 16.
        let at_least = |k| degrees.iter().filter(|degree| **degree >= k).count();
        let fall = at_least(48) as f64 / at_least(192) as f64;
        assert!((11.0..23.0).contains(&fall), "{fall}");
        // They are anywhere among the numbers.
        let many = |users: &[Vec<u32>]| users.iter().filter(|contacts| contacts.len() > 100).count();
        let (front, back) = (many(&graph[..10_000]), many(&graph[10_000..]));
        assert!(front.abs_diff(back) < (front + back) / 4, "{front} and {back}");
    }

    #[test]
    fn nobody_has_too_many() {
        let graph = grown(5_000, 20, 80, 3);
        assert_eq!(graph.iter().map(Vec::len).max(), Some(80));
        assert_eq!(pairs(&graph), 50_000);
    }

    #[test]
    fn the_seed_decides() {
        assert_eq!(grown(300, 8, 100, 5), grown(300, 8, 100, 5));
        assert_ne!(grown(300, 8, 100, 5), grown(300, 8, 100, 6));
    }
}
