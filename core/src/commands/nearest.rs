//! What somebody may have meant who typed something else.

/// The known word closest to `typed`, if it is close: at most a third of its letters differ.
pub fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Longer is no slip of the hand, and the work is bounded.
    if typed.len() > 64 {
        return None;
    }
    let close = |word: &&str| distance(typed, word).saturating_mul(3) <= word.len().max(3);
    known.into_iter().filter(close).min_by_key(|word| distance(typed, word))
}

/// Insertions, deletions, replacements and swaps of neighbours that make one word of the other.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut next = vec![i.saturating_add(1)];
        for (j, to) in b.iter().enumerate() {
            let at = |row: &[usize], back: usize| {
                j.checked_sub(back).and_then(|j| row.get(j)).copied().unwrap_or(usize::MAX / 2)
            };
            let replaced = at(&row, 0).saturating_add(usize::from(from != to));
            let removed = row.get(j.saturating_add(1)).copied().unwrap_or(usize::MAX / 2).saturating_add(1);
            let added = at(&next, 0).saturating_add(1);
            let mut best = replaced.min(removed).min(added);
            let swapped =
                i > 0 && j > 0 && a.get(i.saturating_sub(1)) == Some(to) && b.get(j.saturating_sub(1)) == Some(from);
            if swapped {
                best = best.min(at(&before, 1).saturating_add(1));
            }
            next.push(best);
        }
        before = std::mem::replace(&mut row, next);
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_seen() {
        let known = ["user", "sessions", "status", "user add", "domain"];
        for (typed, wanted) in [
            ("usr", Some("user")),
            ("users", Some("user")),
            ("satus", Some("status")),
            ("sesions", Some("sessions")),
            ("user dad", Some("user add")),
            ("domian", Some("domain")),
            ("frob", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed, known), wanted, "{typed}");
        }
        assert_eq!((distance("ab", "ba"), distance("", "abc"), distance("abc", "abc")), (1, 3, 0));
    }
}
