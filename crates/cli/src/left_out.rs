//! What a command left out: each with its reason, told at the end, in bounded memory.

use crate::escape::escape;
use crate::exit::Code;
use crate::figures;

/// Names kept; of the rest only the number is told.
const NAMED_MAX: usize = 1_000;

/// Files or keys that were left out.
#[derive(Debug, Default)]
pub(crate) struct LeftOut {
    named: Vec<String>,
    count: u64,
}

impl LeftOut {
    /// Notes one of them.
    pub(crate) fn add(&mut self, name: &[u8], reason: &str) {
        self.count += 1;
        if self.named.len() < NAMED_MAX {
            self.named.push(format!("{}: {reason}", escape(name)));
        }
    }

    /// Tells them to standard error, and how the command is to end.
    pub(crate) fn report(&self, one: &str, many: &str) -> Code {
        if self.count == 0 {
            return Code::Done;
        }
        eprintln!("ratel: {} left out:", figures::several(self.count, one, many));
        self.named.iter().for_each(|line| eprintln!("  {line}"));
        let unnamed = self.count - self.named.len() as u64;
        if unnamed > 0 {
            eprintln!("  and {} more", figures::count(unnamed));
        }
        Code::Partial
    }
}
