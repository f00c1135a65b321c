//! Deaths that count before they are written: noted in memory, under tickets that stay live, and settled together.
//!
//! What is noted takes no more memory than [`Options::unsettled_bytes_max`](crate::Options::unsettled_bytes_max) and one dead
//! set: with more it is settled at once.

use crate::dead_set::DeadSet;
use crate::deaths::DeathsBySegment;
use crate::{Result, Segment, ValueLog};

impl ValueLog {
    /// As [`apply_deaths`](Self::apply_deaths), but in memory: cheap, and at once counted, read by collections and seen by
    /// [`dead_set`](Self::dead_set). The tickets stay live until [`settle_deaths`](Self::settle_deaths) has made it durable:
    /// after a crash the next open applies them again.
    ///
    /// # Errors
    /// [`Error::Corruption`](crate::Error::Corruption) where a list or a dead set is missing or damaged,
    /// [`Error::Vfs`](crate::Error::Vfs) where the system could not read; deaths in other segments are noted all the same,
    /// and it may be tried again.
    pub fn note_deaths(&self, tickets: &[u64]) -> Result<()> {
        self.check_writable()?;
        let live_tickets = self.dying.lock();
        self.settle_doubtful()?;
        let mut outcome = Ok(());
        for ticket in tickets {
            let dead = self.read_lists(&[*ticket], &live_tickets)?;
            for (id, records) in self.places_of(&dead)? {
                let noted = self.segments().segment(id).map_or(Ok(()), |segment| self.note_in(segment, &records));
                outcome = outcome.and(noted);
            }
        }
        outcome
    }

    /// Makes durable what was noted. Each segment's set is written once, however many tickets that were; those of segments
    /// that were collected meanwhile need not be written at all.
    ///
    /// # Errors
    /// [`Error::Vfs`](crate::Error::Vfs) where the system could not write; it may be tried again.
    pub fn settle_deaths(&self) -> Result<()> {
        self.check_writable()?;
        let _live_tickets = self.dying.lock();
        self.settle_noted()
    }

    /// Segments of which deaths are noted that [`settle_deaths`](Self::settle_deaths) has yet to write.
    #[must_use]
    pub fn unsettled_segments(&self) -> usize {
        self.unsettled.lock().len()
    }

    /// The caller holds the lock of `dying`.
    pub(crate) fn settle_noted(&self) -> Result<()> {
        let noted: DeathsBySegment = self.unsettled.lock().keys().map(|id| (*id, Vec::new())).collect();
        self.kill(noted)
    }

    /// The caller holds the lock of `dying`.
    fn note_in(&self, segment: &Segment, records: &[(u32, u32)]) -> Result<()> {
        let mut dead = self.load_dead_set(segment)?;
        if dead.add(records) == 0 {
            return Ok(());
        }
        segment.tally().note_dead(&dead);
        let noted_bytes: u64 = {
            let mut unsettled = self.unsettled.lock();
            unsettled.insert(segment.id(), dead);
            unsettled.values().map(DeadSet::used_bytes).sum()
        };
        if noted_bytes > self.options.unsettled_bytes_max { self.settle_noted() } else { Ok(()) }
    }
}
