//! How much of a file that was allocated ahead is data.

use crate::{ReadFile, Result};

const WINDOW_BYTES: u64 = 64 << 10;

/// Where the last byte at or behind `from` ends that is not zero; `from` where there is none. Reads from the end of the
/// file on, as far as there are zeros.
///
/// # Errors
/// When the file cannot be read.
pub fn data_end(file: &dyn ReadFile, from: u64) -> Result<u64> {
    let mut end = file.len()?;
    let mut window = Vec::new();
    while end > from {
        let start = end.saturating_sub(WINDOW_BYTES).max(from);
        window.resize((end - start) as usize, 0);
        file.read_exact_at(&mut window, start)?;
        if let Some(last) = window.iter().rposition(|byte| *byte != 0) {
            return Ok(start + last as u64 + 1);
        }
        end = start;
    }
    Ok(from)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{AppendMode, AppendOptions, MemFs, Vfs};

    #[test]
    fn zeros_at_the_end_are_no_data() {
        let fs = MemFs::new(1);
        for (used, allocated) in [(0, 0), (1, 0), (5, 300_000), (65_536, 65_537), (200_000, 300_000)] {
            let path = format!("/{used}-{allocated}");
            let options = AppendOptions { mode: AppendMode::Written, preallocate_bytes: allocated };
            let mut file = fs.create_append(Path::new(&path), options).unwrap();
            file.append(&vec![7; used]).unwrap();
            file.append(&[0; 3]).unwrap();
            let file = fs.open_read(Path::new(&path)).unwrap();
            for from in [0, 1, 70_000, 1 << 40] {
                assert_eq!(data_end(&*file, from).unwrap(), from.max(used as u64), "{path} from {from}");
            }
        }
    }
}
