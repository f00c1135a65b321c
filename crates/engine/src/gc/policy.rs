//! When garbage is collected.

use crate::{Error, Result};

/// When garbage in the value log is collected.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum GcPolicy {
    /// By itself, as soon as there is too much of it.
    Auto(AutoGc),
    /// By [`Gc::run_once`](crate::Gc::run_once) alone.
    Manual,
}

impl Default for GcPolicy {
    fn default() -> Self {
        Self::Auto(AutoGc::new())
    }
}

/// Where the cap is unless it is set.
const CAP_ABOVE_TARGET: f64 = 0.07;

/// How much garbage automatic collection leaves, and how fast it goes.
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use = "a policy does nothing until a store is opened with it"]
pub struct AutoGc {
    pub(crate) garbage_target: f64,
    garbage_cap: Option<f64>,
    pub(crate) bytes_per_second_max: Option<u64>,
}

impl AutoGc {
    /// The defaults.
    pub fn new() -> Self {
        Self { garbage_target: 0.18, garbage_cap: None, bytes_per_second_max: None }
    }

    /// Part of the value log that may be garbage before any is collected, from 0.05 to 0.9 (default 0.18). Half of it means
    /// twice the bytes copied, or more. Of a log with less than 512 MiB, or than one file of the longest, more may be.
    pub fn garbage_target(mut self, part: f64) -> Self {
        self.garbage_target = part;
        self
    }

    /// Part of the value log that garbage stays below: from half the way there on collection goes as fast as it can,
    /// whatever else is to be done, and writers of large values are slowed so that it keeps up. Above the target, at most
    /// 0.95 (default: 0.07 above the target).
    pub fn garbage_cap(mut self, part: f64) -> Self {
        self.garbage_cap = Some(part);
        self
    }

    /// Bytes a second that collection copies at most, at least 1 MiB (default: as many as it takes to stay near the
    /// target).
    pub fn bytes_per_second_max(mut self, bytes: u64) -> Self {
        self.bytes_per_second_max = Some(bytes);
        self
    }

    pub(crate) fn cap(&self) -> f64 {
        self.garbage_cap.unwrap_or(self.garbage_target + CAP_ABOVE_TARGET)
    }

    /// Part from which on writers are slowed, as collection cannot go any faster: half the way to the cap.
    pub(crate) fn slowdown_start(&self) -> f64 {
        (self.garbage_target + self.cap()) / 2.0
    }
}

impl Default for AutoGc {
    fn default() -> Self {
        Self::new()
    }
}

impl GcPolicy {
    pub(crate) fn auto(&self) -> Option<&AutoGc> {
        match self {
            Self::Auto(auto) => Some(auto),
            Self::Manual => None,
        }
    }

    pub(crate) fn validate(&self) -> Result<()> {
        let Self::Auto(auto) = self else { return Ok(()) };
        let target = auto.garbage_target;
        if !(0.05..=0.9).contains(&target) {
            return Err(Error::invalid(format!("option garbage_target is {target}, which is not from 0.05 to 0.9")));
        }
        if let Some(cap) = auto.garbage_cap
            && !(cap > target && cap <= 0.95)
        {
            return Err(Error::invalid(format!("option garbage_cap is {cap}, which is not above {target} to 0.95")));
        }
        match auto.bytes_per_second_max {
            Some(bytes) if bytes < 1 << 20 => {
                Err(Error::invalid(format!("option bytes_per_second_max is {bytes}, which is below 1 MiB")))
            }
            _ => Ok(()),
        }
    }
}
