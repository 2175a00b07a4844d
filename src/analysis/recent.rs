//! A small cache of the most recently used values, so that going back to an image or a top-k costs nothing.

use std::collections::VecDeque;

/// Keeps the `capacity` values that were used last, the latest in front.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    entries: VecDeque<(K, V)>,
    capacity: usize,
}

impl<K: PartialEq, V: Clone> Recent<K, V> {
    pub(super) fn new(capacity: usize) -> Self {
        Self { entries: VecDeque::with_capacity(capacity), capacity }
    }

    /// The value of `key`, which becomes the latest.
    pub(super) fn get(&mut self, key: &K) -> Option<V> {
        let at = self.entries.iter().position(|(k, _)| k == key)?;
        let entry = self.entries.remove(at)?;
        let value = entry.1.clone();
        self.entries.push_front(entry);
        Some(value)
    }

    /// Adds a value as the latest and gives the one that was not used for longest back, if there are too many.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        self.entries.retain(|(k, _)| *k != key);
        self.entries.push_front((key, value));
        let surplus = self.entries.len() > self.capacity;
        self.entries.pop_back_if(|_| surplus).map(|(_, value)| value)
    }

    /// Gives all values back, the latest first.
    pub(super) fn take(&mut self) -> Vec<V> {
        self.entries.drain(..).map(|(_, value)| value).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Recent;

    #[test]
    fn the_least_recently_used_value_goes_first() {
        let mut recent = Recent::new(2);
        recent.insert('a', 1);
        recent.insert('b', 2);
        assert_eq!(recent.get(&'a'), Some(1));
        assert_eq!(recent.insert('c', 3), Some(2), "b was used before a");
        assert_eq!(recent.get(&'b'), None);
        assert_eq!((recent.get(&'a'), recent.get(&'c')), (Some(1), Some(3)));
        assert_eq!(recent.take(), [3, 1]);
        assert_eq!(recent.get(&'a'), None);
    }

    #[test]
    fn a_value_can_be_replaced() {
        let mut recent = Recent::new(2);
        recent.insert('a', 1);
        recent.insert('a', 2);
        recent.insert('b', 3);
        assert_eq!((recent.get(&'a'), recent.get(&'b')), (Some(2), Some(3)));
    }
}
