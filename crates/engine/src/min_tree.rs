//! The least of many keys, of which one changes at a time: a tournament.

/// Keys by index, with the least of each half of the indices, of each quarter and so on.
#[derive(Clone, Debug)]
pub(crate) struct MinTree {
    num_keys: usize,
    /// A power of two, at least the number of keys. The node above all is 1, those below node `n` are `2n` and `2n + 1`.
    num_leaves: usize,
    /// By node; absent keys are `u64::MAX`.
    least: Vec<u64>,
}

impl MinTree {
    /// `num_keys` keys of zero.
    pub(crate) fn new(num_keys: usize) -> Self {
        let num_leaves = num_keys.next_power_of_two();
        let mut tree = Self { num_keys, num_leaves, least: vec![u64::MAX; 2 * num_leaves] };
        (0..num_keys).for_each(|index| tree.set(index, 0));
        tree
    }

    pub(crate) fn set(&mut self, index: usize, key: u64) {
        let mut node = self.num_leaves + index;
        self.least[node] = key;
        while node > 1 {
            node /= 2;
            let least = self.least[2 * node].min(self.least[2 * node + 1]);
            if self.least[node] == least {
                return;
            }
            self.least[node] = least;
        }
    }

    /// The first index from `start` on, and then from 0, that has the least key of all.
    pub(crate) fn first_least(&self, start: usize) -> usize {
        self.first_up_to(self.least[1], start).or_else(|| self.first_up_to(self.least[1], 0)).unwrap_or(0)
    }

    /// The first index from `start` on with a key of at most `key`.
    fn first_up_to(&self, key: u64, start: usize) -> Option<usize> {
        let mut node = self.num_leaves + start;
        if start >= self.num_keys {
            return None;
        }
        // Up, until what is to the right has one, and then down to its first.
        while self.least[node] > key {
            while node % 2 == 1 {
                node /= 2;
            }
            if node == 0 {
                return None;
            }
            node += 1;
        }
        while node < self.num_leaves {
            node = 2 * node + usize::from(self.least[2 * node] > key);
        }
        Some(node - self.num_leaves)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// As a scan finds it.
        #[test]
        fn the_first_least(
            num_keys in 1..20_usize,
            changes in prop::collection::vec((0..20_usize, 0..4_u64, 0..20_usize), 0..60),
        ) {
            let mut tree = MinTree::new(num_keys);
            let mut keys = vec![0; num_keys];
            for (index, key, start) in changes {
                let (index, start) = (index % num_keys, start % num_keys);
                tree.set(index, key);
                keys[index] = key;
                let scan = (start..num_keys).chain(0..start);
                prop_assert_eq!(Some(tree.first_least(start)), scan.min_by_key(|&index| keys[index]));
            }
        }
    }
}
