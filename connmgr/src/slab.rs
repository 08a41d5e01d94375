//! A table whose places are reused and whose keys are small.

/// Values by index. Freed places are chained and taken again, last freed first.
pub(crate) struct Slab<T> {
    entries: Vec<Entry<T>>,
    free: u32,
    len: usize,
}

enum Entry<T> {
    Taken(T),
    /// The next free place, or [`NONE`].
    Free(u32),
}

const NONE: u32 = u32::MAX;

impl<T> Default for Slab<T> {
    fn default() -> Slab<T> {
        Slab::new()
    }
}

impl<T> Slab<T> {
    pub(crate) fn new() -> Slab<T> {
        Slab { entries: Vec::new(), free: NONE, len: 0 }
    }

    /// How many places are taken.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// All places ever used are below this.
    pub(crate) fn bound(&self) -> u32 {
        u32::try_from(self.entries.len()).unwrap_or(NONE)
    }

    /// The place that the next [`Slab::insert`] takes.
    pub(crate) fn vacant(&self) -> u32 {
        if self.free == NONE { self.bound() } else { self.free }
    }

    pub(crate) fn insert(&mut self, value: T) -> u32 {
        self.len = self.len.saturating_add(1);
        let at = self.vacant();
        match self.entries.get_mut(at as usize) {
            Some(entry) => {
                if let Entry::Free(next) = entry {
                    self.free = *next;
                }
                *entry = Entry::Taken(value);
            }
            None => self.entries.push(Entry::Taken(value)),
        }
        at
    }

    pub(crate) fn get_mut(&mut self, at: u32) -> Option<&mut T> {
        match self.entries.get_mut(at as usize) {
            Some(Entry::Taken(value)) => Some(value),
            Some(Entry::Free(_)) | None => None,
        }
    }

    pub(crate) fn remove(&mut self, at: u32) -> Option<T> {
        let entry = self.entries.get_mut(at as usize)?;
        if matches!(entry, Entry::Free(_)) {
            return None;
        }
        let Entry::Taken(value) = std::mem::replace(entry, Entry::Free(self.free)) else { return None };
        self.free = at;
        self.len = self.len.saturating_sub(1);
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_reused_and_kept_apart() {
        let mut slab = Slab::new();
        let places: Vec<u32> = (0..4).map(|n| slab.insert(n)).collect();
        assert_eq!(places, [0, 1, 2, 3]);
        assert_eq!(slab.remove(1), Some(1));
        assert_eq!(slab.remove(1), None);
        assert_eq!(slab.remove(3), Some(3));
        assert_eq!(slab.len(), 2);
        assert_eq!(slab.vacant(), 3);
        assert_eq!(slab.insert(30), 3);
        assert_eq!(slab.insert(10), 1);
        assert_eq!(slab.insert(4), 4);
        assert_eq!(slab.get_mut(1), Some(&mut 10));
        assert_eq!(slab.get_mut(9), None);
        assert_eq!(slab.len(), 5);
    }
}
