//! Numbers of things that are alike.

use std::fmt;

use serde::{Serialize, Serializer};

/// Ascending numbers, as ranges: `0–127, 130`. As JSON an array of pairs, the first and the last of each range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ids(Vec<[u32; 2]>);

impl Ids {
    /// Adds a number above all others.
    ///
    /// # Panics
    /// When it is not.
    pub fn push(&mut self, id: u32) {
        match self.0.last_mut() {
            Some([_, last]) if *last + 1 == id => *last = id,
            last => {
                assert!(last.is_none_or(|range| range[1] < id), "numbers ascend");
                self.0.push([id, id]);
            }
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.iter().map(|[first, last]| (last - first) as usize + 1).sum()
    }

    /// The first; `None` where there is none.
    pub fn first(&self) -> Option<u32> {
        self.0.first().map(|range| range[0])
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        self.0.iter().flat_map(|&[first, last]| first..=last)
    }

    /// Whether `id` is one of them.
    pub fn contains(&self, id: u32) -> bool {
        self.0.iter().any(|&[first, last]| (first..=last).contains(&id))
    }
}

impl FromIterator<u32> for Ids {
    fn from_iter<I: IntoIterator<Item = u32>>(numbers: I) -> Self {
        let mut ids = Self::default();
        numbers.into_iter().for_each(|id| ids.push(id));
        ids
    }
}

impl fmt::Display for Ids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let range = |&[first, last]: &[u32; 2]| match last - first {
            0 => first.to_string(),
            1 => format!("{first}, {last}"),
            _ => format!("{first}–{last}"),
        };
        f.pad(&self.0.iter().map(range).collect::<Vec<_>>().join(", "))
    }
}

impl Serialize for Ids {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_ranges() {
        let check = |numbers: &[u32], shown: &str| {
            let ids: Ids = numbers.iter().copied().collect();
            assert_eq!((ids.to_string().as_str(), ids.count()), (shown, numbers.len()));
            assert_eq!(ids.iter().collect::<Vec<_>>(), numbers);
            assert_eq!(ids.first(), numbers.first().copied());
            assert!(numbers.iter().all(|&id| ids.contains(id)) && !ids.contains(99));
        };
        check(&[], "");
        check(&[0], "0");
        check(&[0, 1], "0, 1");
        check(&[0, 1, 2, 5, 7, 8, 9], "0–2, 5, 7–9");
    }
}
