//! Decides how a log ends: what lies behind the last whole record, and whether that is a tail or damage.

use super::assemble::Bad;
use super::{LogReader, RecoveryMode, State};
use crate::damage::{Damage, EndKind, LogEnd, Skipped};
use crate::fragment::{FragmentKind, Piece, room};
use crate::{Result, tail};

impl LogReader {
    /// The log was closed by a record that ends at `end`. Behind it may stand the one that proves the first durable.
    pub(super) fn close(&mut self, end: u64) -> Result<()> {
        self.whole_end = end;
        let mut at = end;
        loop {
            match self.framing.parse(at, self.window.block_rest(at)?) {
                Piece::Fragment(fragment) if fragment.kind == FragmentKind::Closing => {
                    self.highest.raise(fragment.synced);
                    at += fragment.len as u64;
                    self.whole_end = at;
                }
                Piece::Padding => at += room(at) as u64,
                _ => break,
            }
        }
        let data_end = self.window.data_end(at)?;
        if data_end > at {
            let behind = tail::highest_synced(&mut self.window, &self.framing, at, data_end)?;
            self.highest.raise(behind);
            let is_error = match self.mode {
                RecoveryMode::Default => behind.log > self.whole_end,
                RecoveryMode::AbsoluteConsistency => true,
                RecoveryMode::PointInTime | RecoveryMode::SkipCorrupt => false,
            };
            if is_error {
                return self.fail(at, Damage::Sequence);
            }
        }
        let dropped_bytes = if data_end > at { data_end - self.whole_end } else { 0 };
        self.state = State::Ended(LogEnd { offset: self.whole_end, kind: EndKind::Closed, dropped_bytes });
        Ok(())
    }

    /// Nothing stands at `at`, where a record should start: the end, unless something stands behind.
    pub(super) fn stop(&mut self, at: u64) -> Result<()> {
        if self.window.data_end(at)? > at {
            return self.judge(&Bad::at(at, at, Damage::Hole));
        }
        self.state = State::Ended(LogEnd { offset: self.whole_end, kind: EndKind::Unclosed, dropped_bytes: 0 });
        Ok(())
    }

    pub(super) fn judge(&mut self, bad: &Bad) -> Result<()> {
        let data_end = self.window.data_end(bad.at)?;
        let is_cut = bad.cause == Damage::Hole && data_end <= bad.at;
        let cause = if is_cut { Damage::Cut } else { bad.cause };
        if self.mode == RecoveryMode::SkipCorrupt
            && let Some(next) = tail::next_start(&mut self.window, &self.framing, bad.go_on, data_end)?
        {
            self.skipped.push(Skipped { offset: bad.start, bytes: next - bad.start, cause });
            self.position = next;
            return Ok(());
        }
        let behind = tail::highest_synced(&mut self.window, &self.framing, bad.at, data_end)?;
        self.highest.raise(behind);
        match self.mode {
            RecoveryMode::Default if behind.log > bad.start => self.fail(bad.at, cause),
            RecoveryMode::AbsoluteConsistency => self.fail(bad.at, cause),
            _ => self.end_torn(cause),
        }
    }

    pub(super) fn end_torn(&mut self, cause: Damage) -> Result<()> {
        let dropped_bytes = self.window.data_end(self.whole_end)? - self.whole_end;
        self.state = State::Ended(LogEnd { offset: self.whole_end, kind: EndKind::Torn(cause), dropped_bytes });
        Ok(())
    }

    fn fail(&mut self, at: u64, cause: Damage) -> Result<()> {
        let corruption = cause.at(self.window.path(), at);
        self.state = State::Corrupt(corruption.clone());
        Err(corruption.into())
    }
}
