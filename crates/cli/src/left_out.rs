//! What a command left out: each with its reason, told at the end, in bounded memory.

use crate::escape::escape;
use crate::exit::{Code, complain};
use crate::figures;

/// Names kept, and the bytes of text that they may fill; of the rest only the number is told.
const NAMED_MAX: usize = 1_000;
const NAMED_BYTES_MAX: usize = 1 << 20;

/// Files or keys that were left out.
#[derive(Debug, Default)]
pub(crate) struct LeftOut {
    named: Vec<String>,
    named_bytes: usize,
    count: u64,
}

impl LeftOut {
    /// Notes one of them.
    pub(crate) fn add(&mut self, name: &[u8], reason: &str) {
        self.count += 1;
        if self.named.len() < NAMED_MAX && self.named_bytes < NAMED_BYTES_MAX {
            let line = format!("{}: {reason}", escape(name));
            self.named_bytes += line.len();
            self.named.push(line);
        }
    }

    /// Tells them to standard error, and how the command is to end.
    pub(crate) fn report(&self, one: &str, many: &str) -> Code {
        if self.count == 0 {
            return Code::Done;
        }
        complain(&format!("ratel: {} left out:", figures::several(self.count, one, many)));
        self.named.iter().for_each(|line| complain(&format!("  {line}")));
        let unnamed = self.count - self.named.len() as u64;
        if unnamed > 0 {
            complain(&format!("  and {} more", figures::count(unnamed)));
        }
        Code::Partial
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kept_up_to_a_number_and_a_size() {
        let (mut short, mut long) = (LeftOut::default(), LeftOut::default());
        for _ in 0..5_000 {
            short.add(b"k", "why");
            long.add(&[0; 65_535], "why");
        }
        assert_eq!((short.named.len(), short.count), (NAMED_MAX, 5_000));
        assert_eq!((long.named.len(), long.count), (4, 5_000), "four bytes for each byte of a name");
    }
}
