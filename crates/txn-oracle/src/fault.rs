//! Bugs planted on purpose, one for each rule that the loom models hold: a model that does not fail with its bug planted
//! proves nothing. Normal builds know only a constant `false`.

/// A rule left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(loom), expect(unreachable_pub, reason = "public in modelled builds"))]
pub enum Fault {
    /// A commit that is not recorded leaves no mark either.
    UnrecordedLeavesNoMark,
    /// The keys of a commit in flight are not kept, and that they are not is forgotten.
    RecentKeysForgotten,
    /// The list of recent writes passes for whole after a commit that is not in it.
    UnlistedKeepsFloor,
    /// The conflict table's marks are read before the watermark.
    WatermarkReadLast,
    /// A mark takes the visible version first and registers it afterwards.
    VisibleReadBeforeRegistering,
    /// The watermark jumps to any completed version, over those still on their way.
    WatermarkJumps,
    /// Who completes out of turn takes an old look at the watermark for the last.
    WatermarkNotReread,
    /// A waiter parks without saying so.
    WaiterParksUnannounced,
    /// Waiters are woken without the lock that they park with.
    WakerSkipsLock,
    /// A commit dropped on its way poisons nothing.
    LostCommitGoesUnnoticed,
}

/// Which rule is left out, if any.
#[derive(Clone, Copy, Debug, Default)]
#[cfg(loom)]
pub struct Faults(pub Option<Fault>);

#[cfg(loom)]
impl Faults {
    pub(crate) fn plants(self, fault: Fault) -> bool {
        self.0 == Some(fault)
    }
}

/// Nothing is left out.
#[derive(Clone, Copy, Debug, Default)]
#[cfg(not(loom))]
pub(crate) struct Faults;

#[cfg(not(loom))]
impl Faults {
    #[inline(always)]
    pub(crate) const fn plants(self, _fault: Fault) -> bool {
        false
    }
}
