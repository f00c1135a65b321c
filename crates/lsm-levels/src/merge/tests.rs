//! The merged cursor against a sorted list of the same entries.

use base::rng::Rng;
use base::{Cursor, InternalKey, InternalKeyRef};
use proptest::prelude::*;

use super::MergeCursor;

/// A cursor over a list, whose moves fail after a while if it is told so.
#[derive(Debug, Default)]
struct ListCursor {
    entries: Vec<(InternalKey, Vec<u8>)>,
    position: Option<usize>,
    moves_until_error: Option<usize>,
}

impl ListCursor {
    fn new(mut entries: Vec<(InternalKey, Vec<u8>)>) -> Self {
        entries.sort();
        entries.dedup_by(|a, b| a.0 == b.0);
        Self { entries, ..Self::default() }
    }

    fn go(&mut self, position: Option<usize>) -> Result<(), &'static str> {
        if let Some(left) = &mut self.moves_until_error {
            if *left == 0 {
                self.position = None;
                return Err("disk on fire");
            }
            *left -= 1;
        }
        self.position = position.filter(|position| *position < self.entries.len());
        Ok(())
    }
}

impl Cursor for ListCursor {
    type Error = &'static str;

    fn seek_to_first(&mut self) -> Result<(), &'static str> {
        self.go(Some(0))
    }

    fn seek_to_last(&mut self) -> Result<(), &'static str> {
        self.go(self.entries.len().checked_sub(1))
    }

    fn seek(&mut self, key: InternalKeyRef<'_>) -> Result<(), &'static str> {
        self.go(Some(self.entries.partition_point(|(entry, _)| entry.as_ref() < key)))
    }

    fn seek_for_prev(&mut self, key: InternalKeyRef<'_>) -> Result<(), &'static str> {
        self.go(self.entries.partition_point(|(entry, _)| entry.as_ref() <= key).checked_sub(1))
    }

    fn next(&mut self) -> Result<(), &'static str> {
        self.go(self.position.map(|position| position + 1))
    }

    fn prev(&mut self) -> Result<(), &'static str> {
        self.go(self.position.and_then(|position| position.checked_sub(1)))
    }

    fn valid(&self) -> bool {
        self.position.is_some()
    }

    fn key(&self) -> InternalKeyRef<'_> {
        self.entries[self.position.unwrap()].0.as_ref()
    }

    fn value(&self) -> &[u8] {
        &self.entries[self.position.unwrap()].1
    }
}

type Entries = Vec<(InternalKey, Vec<u8>)>;

fn entry(user_key: &[u8], version: u64, value: &[u8]) -> (InternalKey, Vec<u8>) {
    (InternalKeyRef::new(user_key, version).to_owned(), value.to_vec())
}

/// Keys from a small space, some a prefix of another, so that sources share many; each value names its source.
fn random_sources(rng: &mut Rng, sources: u64) -> Vec<Entries> {
    let alphabet = [b"".as_slice(), b"\0", b"\0\0", b"a", b"ab", b"b", b"shared-prefix-1", b"shared-prefix-2", b"\xff"];
    (0..sources)
        .map(|source| {
            let count = rng.below(25);
            (0..count)
                .map(|_| {
                    let mut key = alphabet[rng.below(alphabet.len() as u64) as usize].to_vec();
                    key.extend_from_slice(alphabet[rng.below(alphabet.len() as u64) as usize]);
                    entry(&key, rng.below(4), &[u8::try_from(source).unwrap()])
                })
                .collect()
        })
        .collect()
}

/// What the merge should show: sorted, each internal key once, from the first source that has it.
fn model(sources: &[Entries]) -> Entries {
    let mut all: Entries = sources.iter().flatten().cloned().collect();
    all.sort();
    all.dedup_by(|a, b| a.0 == b.0);
    all
}

fn merged(sources: &[Entries]) -> MergeCursor<ListCursor> {
    MergeCursor::new(sources.iter().map(|entries| ListCursor::new(entries.clone())).collect())
}

fn current(cursor: &impl Cursor) -> Option<(InternalKey, Vec<u8>)> {
    cursor.valid().then(|| (cursor.key().to_owned(), cursor.value().to_vec()))
}

fn forward<C: Cursor<Error = &'static str>>(cursor: &mut C) -> Entries {
    let mut seen = Vec::new();
    cursor.seek_to_first().unwrap();
    while let Some(entry) = current(cursor) {
        seen.push(entry);
        cursor.next().unwrap();
    }
    seen
}

fn reverse<C: Cursor<Error = &'static str>>(cursor: &mut C) -> Entries {
    let mut seen = Vec::new();
    cursor.seek_to_last().unwrap();
    while let Some(entry) = current(cursor) {
        seen.push(entry);
        cursor.prev().unwrap();
    }
    seen.reverse();
    seen
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn shows_each_internal_key_once_from_the_first_source_both_ways(seed: u64, sources in 0u64..9) {
        let sources = random_sources(&mut Rng::new(seed), sources);
        let expected = model(&sources);
        let mut cursor = merged(&sources);
        prop_assert_eq!(forward(&mut cursor), expected.clone());
        prop_assert_eq!(reverse(&mut cursor), expected);
    }

    #[test]
    fn merges_of_merges_show_the_same(seed: u64, sources in 2u64..9) {
        let sources = random_sources(&mut Rng::new(seed), sources);
        let (left, right) = sources.split_at(sources.len() / 2);
        let mut nested = MergeCursor::new(vec![merged(left), merged(right)]);
        prop_assert_eq!(forward(&mut nested), model(&sources));
        prop_assert_eq!(reverse(&mut nested), model(&sources));
    }

    #[test]
    fn any_walk_stands_where_the_sorted_list_stands(seed: u64, sources in 1u64..7) {
        let mut rng = Rng::new(seed);
        let sources = random_sources(&mut rng, sources);
        let expected = model(&sources);
        let mut list = ListCursor::new(expected.clone());
        let mut cursor = merged(&sources);
        for step in 0..200 {
            let target = match expected.len() as u64 {
                0 => entry(b"a", 1, b""),
                len => expected[rng.below(len) as usize].clone(),
            };
            let target = InternalKeyRef::new(&target.0.user_key, rng.below(5));
            match rng.below(12) {
                0 => { cursor.seek(target).unwrap(); list.seek(target).unwrap(); }
                1 => { cursor.seek_for_prev(target).unwrap(); list.seek_for_prev(target).unwrap(); }
                2 => { cursor.seek_to_first().unwrap(); list.seek_to_first().unwrap(); }
                3 => { cursor.seek_to_last().unwrap(); list.seek_to_last().unwrap(); }
                4..8 if list.valid() => { cursor.next().unwrap(); list.next().unwrap(); }
                _ if list.valid() => { cursor.prev().unwrap(); list.prev().unwrap(); }
                _ => {}
            }
            prop_assert_eq!(current(&cursor), current(&list), "step {}", step);
        }
    }

    #[test]
    fn after_an_error_it_stands_nowhere_and_then_starts_anew(seed: u64, sources in 1u64..6, moves in 0usize..60) {
        let mut rng = Rng::new(seed);
        let sources = random_sources(&mut rng, sources);
        let expected = model(&sources);
        let mut lists: Vec<_> = sources.iter().map(|entries| ListCursor::new(entries.clone())).collect();
        let failing = rng.below(lists.len() as u64) as usize;
        lists[failing].moves_until_error = Some(moves);
        let mut cursor = MergeCursor::new(lists);
        let mut seen = Vec::new();
        let mut moved = cursor.seek_to_first();
        while let (Ok(()), Some(entry)) = (moved, current(&cursor)) {
            seen.push(entry);
            moved = cursor.next();
        }
        match moved {
            Ok(()) => prop_assert_eq!(seen, expected),
            Err(_) => {
                prop_assert!(!cursor.valid());
                prop_assert_eq!(&seen[..], &expected[..seen.len()], "nothing was skipped before the error");
                cursor.sources[failing].moves_until_error = None;
                prop_assert_eq!(forward(&mut cursor), expected);
            }
        }
    }
}

#[test]
fn back_and_forth_returns_to_the_same_key() {
    let sources: Vec<Entries> = (0..3u8)
        .map(|source| (0..100u8).filter(|key| key % 3 == source).map(|key| entry(&[key], 1, &[source])).collect())
        .collect();
    let mut cursor = merged(&sources);
    for key in 2..98u8 {
        cursor.seek(InternalKeyRef::first_of(&[key])).unwrap();
        cursor.prev().unwrap();
        cursor.prev().unwrap();
        assert_eq!(cursor.key().user_key, [key - 2]);
        cursor.next().unwrap();
        cursor.next().unwrap();
        assert_eq!(cursor.key().user_key, [key]);
    }
}

#[test]
fn a_seek_past_either_end_stands_nowhere() {
    let sources = [vec![entry(b"b", 1, b"")], vec![entry(b"c", 1, b"")]];
    let mut cursor = merged(&sources);
    cursor.seek(InternalKeyRef::first_of(b"d")).unwrap();
    assert!(!cursor.valid());
    cursor.seek_for_prev(InternalKeyRef::first_of(b"a")).unwrap();
    assert!(!cursor.valid());
}
