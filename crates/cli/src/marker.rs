//! What a stored file was, in the byte of user meta that comes with its key.
//!
//! Entries that `import` did not write have user meta 0 as a rule, and so are plain files to `export`.

/// Kind of a stored file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Marker {
    /// A file; the value is its bytes.
    File,
    /// A file that its owner may execute.
    Executable,
    /// A symbolic link; the value is where it points to.
    Link,
    /// A folder with nothing in it; the value is empty.
    EmptyFolder,
}

impl Marker {
    /// The byte.
    pub(crate) const fn user_meta(self) -> u8 {
        match self {
            Self::File => 0,
            Self::Executable => b'x',
            Self::Link => b'l',
            Self::EmptyFolder => b'd',
        }
    }

    /// The kind behind a byte; any other byte is some other program's and says nothing about files.
    pub(crate) const fn of(user_meta: u8) -> Self {
        match user_meta {
            b'x' => Self::Executable,
            b'l' => Self::Link,
            b'd' => Self::EmptyFolder,
            _ => Self::File,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_comes_back_and_any_other_byte_is_a_file() {
        for kind in [Marker::File, Marker::Executable, Marker::Link, Marker::EmptyFolder] {
            assert_eq!(Marker::of(kind.user_meta()), kind);
        }
        let files = (0..=u8::MAX).filter(|byte| Marker::of(*byte) == Marker::File).count();
        assert_eq!(files, 253);
    }
}
