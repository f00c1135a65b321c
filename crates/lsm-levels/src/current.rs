//! The file `CURRENT`, which names the live manifest.
//!
//! ```text
//! ratel current 1
//! MANIFEST-000007
//! synced 4711
//! checksum 89abcdef
//! ```
//! `synced` is how many bytes of the manifest were synced before `CURRENT` named it: all of its first edit is among
//! them. The checksum is the CRC-32 of the lines before it. `CURRENT` is only ever replaced whole, by a rename.

use std::path::{Path, PathBuf};

use base::checksum::crc32;
use base::{Corruption, LogNumber};
use vfs::Vfs;

use crate::error::{Error, Result};

/// Name of the file.
pub(crate) const NAME: &str = "CURRENT";

/// Longest file that is taken for one.
const LEN_MAX: u64 = 256;

/// What a `CURRENT` begins with, whatever its version.
pub const CURRENT_HEAD: &str = "ratel current ";
const FORMAT_VERSION: &str = "1";

/// What `CURRENT` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Current {
    pub(crate) manifest: LogNumber,
    pub(crate) synced: u64,
}

/// The path of a manifest.
pub(crate) fn manifest_path(dir: &Path, number: LogNumber) -> PathBuf {
    dir.join(format!("MANIFEST-{:06}", number.0))
}

/// The number in a manifest's name.
pub(crate) fn manifest_number(name: &Path) -> Option<LogNumber> {
    let digits = name.to_str()?.strip_prefix("MANIFEST-")?;
    let number = LogNumber(digits.parse().ok()?);
    (manifest_path(Path::new(""), number) == name).then_some(number)
}

impl Current {
    /// Reads it; `None` where there is none.
    pub(crate) fn read(vfs: &dyn Vfs, dir: &Path) -> Result<Option<Self>> {
        let path = dir.join(NAME);
        let Some(metadata) = vfs.metadata(&path)? else { return Ok(None) };
        let len = usize::try_from(metadata.len.min(LEN_MAX + 1)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; len];
        vfs.open_read(&path)?.read_exact_at(&mut bytes, 0)?;
        Self::decode(&path, &bytes).map(Some)
    }

    /// Replaces it, durably, with the manifest's own name made durable before.
    pub(crate) fn write(self, vfs: &dyn Vfs, dir: &Path) -> Result<()> {
        vfs.sync_dir(dir)?;
        vfs::write_atomic(vfs, &dir.join(NAME), self.encode().as_bytes())?;
        Ok(())
    }

    fn encode(self) -> String {
        let name = manifest_path(Path::new(""), self.manifest);
        let lines = format!("{CURRENT_HEAD}{FORMAT_VERSION}\n{}\nsynced {}\n", name.display(), self.synced);
        let checksum = crc32(lines.as_bytes());
        format!("{lines}checksum {checksum:08x}\n")
    }

    fn decode(path: &Path, bytes: &[u8]) -> Result<Self> {
        let damaged = |what: &str| Error::from(Corruption::new(path, 0, what));
        let text = std::str::from_utf8(bytes).map_err(|_| damaged("CURRENT is not text"))?;
        let mut lines = text.lines();
        let version = lines.next().and_then(|line| line.strip_prefix(CURRENT_HEAD));
        let version = version.ok_or_else(|| damaged("CURRENT does not start as one"))?;
        let name = lines.next().map(Path::new).and_then(manifest_number);
        let synced = lines.next().and_then(|line| line.strip_prefix("synced ")).and_then(|synced| synced.parse().ok());
        let current = match (name, synced) {
            (Some(manifest), Some(synced)) => Self { manifest, synced },
            _ => return Err(damaged("CURRENT names no manifest")),
        };
        if text
            .strip_suffix('\n')
            .and_then(|text| text.rsplit_once("checksum "))
            .is_none_or(|(lines, checksum)| checksum != format!("{:08x}", crc32(lines.as_bytes())))
        {
            return Err(damaged("CURRENT does not match its checksum"));
        }
        if version != FORMAT_VERSION {
            return Err(Error::Incompatible {
                path: path.to_owned(),
                what: "format version of CURRENT",
                expected: FORMAT_VERSION.to_owned(),
                found: version.to_owned(),
            });
        }
        if current.encode() != text {
            return Err(damaged("CURRENT is not in its one form"));
        }
        Ok(current)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CURRENT: Current = Current { manifest: LogNumber(7), synced: 4_711 };

    fn decode(bytes: &[u8]) -> Result<Current> {
        Current::decode(Path::new("/db/CURRENT"), bytes)
    }

    #[test]
    fn the_format_is_pinned() {
        let text = "ratel current 1\nMANIFEST-000007\nsynced 4711\nchecksum a192f21b\n";
        assert_eq!(CURRENT.encode(), text);
        assert_eq!(decode(text.as_bytes()).unwrap(), CURRENT);
    }

    #[test]
    fn cut_anywhere_it_is_corruption() {
        let text = CURRENT.encode();
        for len in 0..text.len() {
            assert!(matches!(decode(&text.as_bytes()[..len]), Err(Error::Corruption(_))), "cut at {len}");
        }
    }

    #[test]
    fn with_any_bit_flipped_it_is_corruption() {
        let text = CURRENT.encode();
        for position in 0..text.len() {
            for bit in 0..8 {
                let mut bytes = text.clone().into_bytes();
                bytes[position] ^= 1 << bit;
                assert!(matches!(decode(&bytes), Err(Error::Corruption(_))), "byte {position}, bit {bit}");
            }
        }
    }

    #[test]
    fn a_newer_format_is_incompatible() {
        let lines = "ratel current 2\nMANIFEST-000007\nsynced 4711\n";
        let text = format!("{lines}checksum {:08x}\n", crc32(lines.as_bytes()));
        assert!(matches!(decode(text.as_bytes()), Err(Error::Incompatible { .. })));
    }
}
