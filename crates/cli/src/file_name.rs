//! A safe file name for any key.
//!
//! Letters, digits, `_`, `-` and `.` stand for themselves, but for a `.` in front; every other byte is `%NN`. Different keys have
//! different names, and none is hidden, has a slash, or means anything to a shell. A name that would be too long for a file
//! system is cut and numbered, with a `~` that no other name has; such keys are then listed in a file of their own.

use std::fmt::Write;

use crate::escape::escape;

/// Longest name in bytes that every file system takes.
const NAME_LEN_MAX: usize = 255;

/// Bytes left of a name that is cut.
const CUT_LEN: usize = 200;

/// Name of the list of cut names.
pub(crate) const LIST_NAME: &[u8] = b"~keys.tsv";

/// Gives names to keys, one after the other.
#[derive(Debug, Default)]
pub(crate) struct FileNames {
    cut: u64,
    list: String,
}

impl FileNames {
    /// The name of one key; each key is to be asked for once.
    pub(crate) fn name(&mut self, key: &[u8]) -> String {
        let mut name = plain_name(key);
        if name.len() > NAME_LEN_MAX {
            self.cut += 1;
            name.truncate(CUT_LEN);
            // Writing to a string cannot fail.
            let _ = write!(name, "~{}", self.cut);
            let _ = writeln!(self.list, "{name}\t{}", escape(key));
        }
        name
    }

    /// The names that were cut with their keys, one a line; `None` if there are none.
    pub(crate) fn list(&self) -> Option<&str> {
        (!self.list.is_empty()).then_some(self.list.as_str())
    }
}

fn plain_name(key: &[u8]) -> String {
    let mut name = String::with_capacity(key.len());
    for (position, byte) in key.iter().enumerate() {
        let stands = byte.is_ascii_alphanumeric() || b"_-".contains(byte) || (*byte == b'.' && position > 0);
        if stands {
            name.push(char::from(*byte));
        } else {
            let _ = write!(name, "%{byte:02x}");
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_as_documented() {
        let mut names = FileNames::default();
        assert_eq!(names.name(b"src/lib.rs"), "src%2flib.rs");
        assert_eq!(names.name(b"../.."), "%2e.%2f..");
        assert_eq!(names.name(b"a%~ \xff\0"), "a%25%7e%20%ff%00");
        assert_eq!(names.list(), None);
    }

    #[test]
    fn names_that_are_cut_are_listed_and_stay_apart() {
        let mut names = FileNames::default();
        let (one, other) = ([b'a'; 300], [b'a'; 301]);
        assert_eq!(names.name(&one), format!("{}~1", "a".repeat(200)));
        assert_eq!(names.name(&other), format!("{}~2", "a".repeat(200)));
        let list = names.list().unwrap();
        assert_eq!(list.lines().nth(1).unwrap(), format!("{}~2\t{}", "a".repeat(200), "a".repeat(301)));
    }

    proptest! {
        #[test]
        fn every_key_has_a_safe_name_of_its_own(keys in prop::collection::btree_set(prop::collection::vec(any::<u8>(), 1..120), 1..20)) {
            let mut names = FileNames::default();
            let named: BTreeSet<String> = keys.iter().map(|key| names.name(key)).collect();
            prop_assert_eq!(named.len(), keys.len());
            for name in named {
                prop_assert!(!name.is_empty() && name.len() <= NAME_LEN_MAX);
                prop_assert!(!name.starts_with('.') && !name.contains('/') && name.bytes().all(|byte| byte.is_ascii_graphic()));
            }
        }
    }
}
