//! A safe file name for any key.
//!
//! Letters, digits, `_`, `-` and `.` stand for themselves, but for a `.` in front; every other byte is `%NN`. Different keys have
//! different names, and none is hidden, has a slash, or means anything to a shell. A name that would be too long for a file
//! system is cut and numbered, with a `~` that no other name has; such keys are to be listed in a file of their own, one by
//! one as they come, since they may be many and long.

use std::fmt::Write;

/// Longest name in bytes that every file system takes.
const NAME_LEN_MAX: usize = 255;

/// Bytes left of a name that is cut.
const CUT_LEN: usize = 200;

/// Name of the list of cut names.
pub(crate) const LIST_NAME: &str = "~keys.tsv";

/// Gives names to keys, one after the other.
#[derive(Debug, Default)]
pub(crate) struct FileNames {
    cut: u64,
}

/// The name of a key.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FileName {
    pub(crate) text: String,
    /// Whether the key cannot be told from it.
    pub(crate) is_cut: bool,
}

impl FileNames {
    /// The name of one key; each key is to be asked for once.
    pub(crate) fn name(&mut self, key: &[u8]) -> FileName {
        let mut text = plain_name(key);
        let is_cut = text.len() > NAME_LEN_MAX;
        if is_cut {
            self.cut += 1;
            text.truncate(CUT_LEN);
            // Writing to a string cannot fail.
            let _ = write!(text, "~{}", self.cut);
        }
        FileName { text, is_cut }
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

    fn whole(text: &str) -> FileName {
        FileName { text: text.to_owned(), is_cut: false }
    }

    #[test]
    fn names_are_as_documented() {
        let mut names = FileNames::default();
        assert_eq!(names.name(b"src/lib.rs"), whole("src%2flib.rs"));
        assert_eq!(names.name(b"../.."), whole("%2e.%2f.."));
        assert_eq!(names.name(b"a%~ \xff\0"), whole("a%25%7e%20%ff%00"));
        assert_eq!(names.name(&[b'a'; 255]), whole(&"a".repeat(255)));
    }

    #[test]
    fn names_that_are_cut_say_so_and_stay_apart() {
        let mut names = FileNames::default();
        for (len, end) in [(256, "~1"), (300, "~2")] {
            let name = FileName { text: format!("{}{end}", "a".repeat(200)), is_cut: true };
            assert_eq!(names.name(&vec![b'a'; len]), name);
        }
    }

    proptest! {
        #[test]
        fn every_key_has_a_safe_name_of_its_own(keys in prop::collection::btree_set(prop::collection::vec(any::<u8>(), 1..120), 1..20)) {
            let mut names = FileNames::default();
            let named: BTreeSet<FileName> = keys.iter().map(|key| names.name(key)).collect();
            prop_assert_eq!(named.len(), keys.len());
            for FileName { text: name, .. } in named {
                prop_assert!(!name.is_empty() && name.len() <= NAME_LEN_MAX);
                prop_assert!(!name.starts_with('.') && !name.contains('/') && name.bytes().all(|byte| byte.is_ascii_graphic()));
            }
        }
    }
}
