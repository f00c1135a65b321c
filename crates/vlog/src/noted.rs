//! Deaths that count before they are written: noted in memory, under tickets that stay live, and settled together.
//!
//! What is noted takes no more memory than [`Options::unsettled_bytes_max`](crate::Options::unsettled_bytes_max) and one dead
//! set: with more it is settled at once.

use base::SegmentId;

use crate::dead_set::DeadSet;
use crate::deaths::DeathsBySegment;
use crate::{Error, Result, Segment, ValueLog};

/// Deaths that nobody can note or tell any more.
#[derive(Debug)]
pub struct DamagedDeaths {
    /// In which segment, where it is not a list that is damaged.
    pub segment: Option<SegmentId>,
    /// The file, and what is wrong with it.
    pub cause: Error,
}

/// Adds what is damaged; any other cause is an error. A file that cannot be read may be readable the next time.
pub(crate) fn pass_over(segment: Option<SegmentId>, cause: Error, damaged: &mut Vec<DamagedDeaths>) -> Result<()> {
    if !matches!(cause, Error::Corruption(_) | Error::Incompatible { .. }) {
        return Err(cause);
    }
    // One segment is told once, however many of its records.
    if segment.is_none() || damaged.iter().all(|other| other.segment != segment) {
        damaged.push(DamagedDeaths { segment, cause });
    }
    Ok(())
}

/// Whether it is the stored bytes, or the medium below them, that are at fault: then they may be forgotten if that is asked for.
pub(crate) fn is_forgettable(cause: &Error) -> bool {
    match cause {
        Error::Corruption(_) | Error::Incompatible { .. } => true,
        Error::Vfs(error) => !error.is_too_many_files(),
        _ => false,
    }
}

impl ValueLog {
    /// As [`apply_deaths`](Self::apply_deaths), but in memory: cheap, and at once counted, read by collections and seen by
    /// [`dead_set`](Self::dead_set). The tickets stay live until [`settle_deaths`](Self::settle_deaths) has made it durable:
    /// after a crash the next open applies them again.
    ///
    /// What is damaged is in nobody's way: deaths in all other segments are noted, and what is returned says in which they are
    /// not. They leak until [`forget_damaged_deaths`](Self::forget_damaged_deaths).
    ///
    /// # Errors
    /// [`Error::Vfs`] where the system could not read, or write what was noted before; deaths in other
    /// segments are noted all the same, and it may be tried again.
    pub fn note_deaths(&self, tickets: &[u64]) -> Result<Vec<DamagedDeaths>> {
        self.check_writable()?;
        let mut live_tickets = self.dying.lock();
        self.settle_doubtful()?;
        let (mut damaged, mut outcome) = (Vec::new(), Ok(()));
        for ticket in tickets {
            let dead = match self.read_lists(&[*ticket], &live_tickets) {
                Ok(dead) => dead,
                Err(cause) => {
                    let passed_over = pass_over(None, cause, &mut damaged);
                    // Nobody can say what it announced.
                    live_tickets.retain(|live| live != ticket || passed_over.is_err());
                    outcome = outcome.and(passed_over);
                    continue;
                }
            };
            let places = self.places_of(&dead, &mut |segment, cause| pass_over(Some(segment), cause, &mut damaged))?;
            for (id, records) in places {
                let noted = self.segments().segment(id).map_or(Ok(()), |segment| self.note_in(segment, &records));
                outcome = outcome.and(noted.or_else(|cause| pass_over(Some(id), cause, &mut damaged)));
            }
        }
        outcome.map(|()| damaged)
    }

    /// Takes dead sets that are damaged or missing for empty from now on, and for written anew with what is dead by then once
    /// that is settled; takes lists that are so off the live tickets. What leaked by that is for the caller to find. Says what
    /// was damaged.
    ///
    /// # Errors
    /// [`Error::Vfs`] where the system could not read.
    pub fn forget_damaged_deaths(&self) -> Result<Vec<DamagedDeaths>> {
        self.check_writable()?;
        self.forget_damaged()
    }

    pub(crate) fn forget_damaged(&self) -> Result<Vec<DamagedDeaths>> {
        let mut live_tickets = self.dying.lock();
        let mut damaged = Vec::new();
        for segment in self.segments().iter() {
            if let Err(cause) = self.load_dead_set(segment) {
                if !is_forgettable(&cause) {
                    return Err(cause);
                }
                damaged.push(DamagedDeaths { segment: Some(segment.id()), cause });
                segment.tally().note_dead(&DeadSet::default());
                self.unsettled.lock().insert(segment.id(), DeadSet::default());
            }
        }
        for ticket in live_tickets.clone() {
            if let Err(cause) = self.read_lists(&[ticket], &live_tickets) {
                if !is_forgettable(&cause) {
                    return Err(cause);
                }
                damaged.push(DamagedDeaths { segment: None, cause });
                live_tickets.remove(&ticket);
            }
        }
        Ok(damaged)
    }

    /// Makes durable what was noted. Each segment's set is written once, however many tickets that were; those of segments
    /// that were collected meanwhile need not be written at all.
    ///
    /// # Errors
    /// [`Error::Vfs`] where the system could not write; it may be tried again.
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
        self.kill(noted, 0)
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
