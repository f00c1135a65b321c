//! Sizes of an oracle's fixed memory, and their bounds.

use crate::error::OpenError;
#[cfg(loom)]
use crate::fault::Faults;

/// Most slots of the conflict table.
pub const CONFLICT_SLOTS_MAX: usize = 1 << 28;
/// Most commits in flight.
pub const IN_FLIGHT_MAX: usize = 1 << 20;
/// Most bytes of recent commits' keys.
pub const RECENT_BYTES_MAX: usize = 1 << 30;

/// Sizes of an oracle's fixed memory.
#[derive(Clone, Debug)]
pub struct OracleOptions {
    /// Slots of the conflict table, 8 bytes each, rounded up to a power of two; 1 to [`CONFLICT_SLOTS_MAX`], default
    /// 65,536. Fewer slots mean more reads that a committing transaction looks up again, never a wrong answer.
    pub conflict_slots: usize,
    /// Commits that may have a version without being visible, rounded up to a power of two; 1 to [`IN_FLIGHT_MAX`],
    /// default 1,024. More than there are threads that commit.
    pub in_flight_max: usize,
    /// Bytes kept of recent commits' keys; 0 to [`RECENT_BYTES_MAX`], default 1 MiB. With few of them, transactions
    /// validate twice more often.
    pub recent_bytes_max: usize,
    /// The rule that a model leaves out.
    #[cfg(loom)]
    pub faults: Faults,
}

impl Default for OracleOptions {
    fn default() -> Self {
        Self {
            conflict_slots: 1 << 16,
            in_flight_max: 1 << 10,
            recent_bytes_max: 1 << 20,
            #[cfg(loom)]
            faults: Faults::default(),
        }
    }
}

impl OracleOptions {
    pub(crate) fn check(&self) -> Result<(), OpenError> {
        let bounds = [
            ("conflict_slots", self.conflict_slots, 1, CONFLICT_SLOTS_MAX),
            ("in_flight_max", self.in_flight_max, 1, IN_FLIGHT_MAX),
            ("recent_bytes_max", self.recent_bytes_max, 0, RECENT_BYTES_MAX),
        ];
        match bounds.into_iter().find(|(_, found, min, max)| found < min || found > max) {
            Some((option, found, expected_min, expected_max)) => {
                Err(OpenError::OptionOutOfRange { option, expected_min, expected_max, found })
            }
            None => Ok(()),
        }
    }
}
