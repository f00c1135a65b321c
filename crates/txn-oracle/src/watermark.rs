//! The visible watermark: the highest version such that every commit at or below it is complete.
//!
//! One word holds the watermark in its low bits and two flags above: somebody is parked, no more commits are taken. A
//! commit that completes in its turn moves the word by one compare-and-swap. One that completes early leaves its version
//! in its slot of a ring; whoever moves the word then looks at the next slot, and goes on while it finds versions there.
//!
//! Invariants
//! 1. The watermark only grows, by one version at a time, over completed versions: it is a contiguous prefix.
//! 2. Whoever moves the word to `v` looks at the slot of `v + 1` after that. A commit that left its version in a slot
//!    then does a read-modify-write of the word, so one of the two sees the other: no completed version is forgotten.
//! 3. Every change of the word after it was made is a read-modify-write with release and acquire ordering. Whoever loads
//!    watermark `v` therefore sees all that each commit at or below `v` did before it completed.
//! 4. A waiter sets the parked flag under the lock that it parks with, after it found its version not reached; whoever
//!    moves the word takes the flag away with the same operation, and then notifies under that lock. No wake-up is lost.
//! 5. A slot is used again only once its earlier version is visible; `assign` sees to that.

use base::Version;
use base::sync::atomic::{AtomicU64, Ordering};
use base::sync::{Condvar, Mutex, spin_loop};
use base::thread::yield_now;

use crate::error::{Cause, LostCommit, Poisoned};
use crate::fault::{Fault, Faults};
use crate::first_cause::FirstCause;

/// The highest version: two bits of the watermark's word are flags.
pub const VERSION_MAX: Version = (1 << 62) - 1;

const PARKED: u64 = 1 << 62;
const POISONED: u64 = 1 << 63;

/// Looks at the word before a waiter gives up its time slice; a modelled waiter looks once.
const SPINS: usize = if cfg!(loom) { 1 } else { 64 };

/// Keeps what many threads write apart from what others read: two cache lines, since processors fetch them in pairs.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Padded<T>(pub(crate) T);

#[derive(Debug)]
pub(crate) struct Watermark {
    word: Padded<AtomicU64>,
    /// The newest version assigned; written under the commit order only.
    assigned: Padded<AtomicU64>,
    /// The lowest version that was lost; nothing from it on is ever visible.
    lost: AtomicU64,
    slots: Box<[AtomicU64]>,
    slot_mask: u64,
    parking: Mutex<()>,
    moved: Condvar,
    cause: FirstCause<Cause>,
    faults: Faults,
}

impl Watermark {
    /// `slots` is a power of two.
    pub(crate) fn new(visible: Version, slots: usize, faults: Faults) -> Self {
        debug_assert!(slots.is_power_of_two() && visible <= VERSION_MAX);
        Self {
            word: Padded(AtomicU64::new(visible)),
            assigned: Padded(AtomicU64::new(visible)),
            lost: AtomicU64::new(u64::MAX),
            slots: (0..slots).map(|_| AtomicU64::new(0)).collect(),
            slot_mask: slots as u64 - 1,
            parking: Mutex::new(()),
            moved: Condvar::new(),
            cause: FirstCause::new(),
            faults,
        }
    }

    #[inline]
    pub(crate) fn visible(&self) -> Version {
        self.word.0.load(Ordering::Acquire) & VERSION_MAX
    }

    /// The watermark, or why it is not worth asking.
    #[inline]
    pub(crate) fn visible_unless_poisoned(&self) -> Result<Version, Poisoned> {
        let word = self.word.0.load(Ordering::Acquire);
        if word & POISONED == 0 { Ok(word & VERSION_MAX) } else { Err(self.poisoned(word & VERSION_MAX)) }
    }

    pub(crate) fn in_flight_max(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn assigned(&self) -> Version {
        self.assigned.0.load(Ordering::Relaxed)
    }

    /// Notes that `version` is assigned; under the commit order.
    #[inline]
    pub(crate) fn note_assigned(&self, version: Version) {
        self.assigned.0.store(version, Ordering::Relaxed);
    }

    /// Marks `version` complete and moves the watermark as far as it goes.
    #[inline]
    pub(crate) fn complete(&self, version: Version) {
        if self.faults.plants(Fault::WatermarkJumps) {
            self.word.0.fetch_max(version, Ordering::AcqRel);
            return;
        }
        let in_turn = self.word.0.compare_exchange(version - 1, version, Ordering::AcqRel, Ordering::Relaxed);
        let word = match in_turn {
            Ok(_) => version,
            Err(_) => self.complete_out_of_turn(version),
        };
        if self.is_complete((word & VERSION_MAX) + 1) {
            self.advance(word);
        }
    }

    /// Leaves `version` in its slot and returns the word as it is after that.
    fn complete_out_of_turn(&self, version: Version) -> u64 {
        if let Some(slot) = self.slot(version) {
            slot.store(version, Ordering::Release);
        }
        if self.faults.plants(Fault::WatermarkNotReread) {
            return self.word.0.load(Ordering::Acquire);
        }
        // Not a load: it must come before or after the other's compare-and-swap in the word's own order (invariant 2).
        self.word.0.fetch_add(0, Ordering::AcqRel)
    }

    #[cold]
    fn advance(&self, mut word: u64) {
        loop {
            let next = (word & VERSION_MAX) + 1;
            if !self.is_complete(next) {
                return;
            }
            let moved = (word & POISONED) | next;
            match self.word.0.compare_exchange(word, moved, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    if word & PARKED != 0 {
                        self.wake_all();
                    }
                    word = moved;
                }
                Err(other) => word = other,
            }
        }
    }

    /// Whether a version above the watermark waits in its slot.
    #[inline]
    fn is_complete(&self, version: Version) -> bool {
        self.slot(version).is_some_and(|slot| slot.load(Ordering::Acquire) == version)
    }

    #[inline]
    fn slot(&self, version: Version) -> Option<&AtomicU64> {
        self.slots.get((version & self.slot_mask) as usize)
    }

    /// Returns once `version` is visible, or once it is certain that it never will be.
    #[inline]
    pub(crate) fn wait(&self, version: Version) -> Result<(), Poisoned> {
        if self.visible() >= version { Ok(()) } else { self.wait_long(version) }
    }

    #[cold]
    fn wait_long(&self, version: Version) -> Result<(), Poisoned> {
        for _ in 0..SPINS {
            spin_loop();
            if let Some(reached) = self.settled(self.word.0.load(Ordering::Acquire), version) {
                return reached;
            }
        }
        if !cfg!(loom) {
            yield_now();
        }
        self.park(version)
    }

    fn park(&self, version: Version) -> Result<(), Poisoned> {
        let mut parking = self.parking.lock();
        let mut word = self.word.0.load(Ordering::Acquire);
        loop {
            if let Some(reached) = self.settled(word, version) {
                return reached;
            }
            let announced = word & PARKED != 0 || self.faults.plants(Fault::WaiterParksUnannounced);
            if !announced
                && let Err(other) =
                    self.word.0.compare_exchange(word, word | PARKED, Ordering::AcqRel, Ordering::Acquire)
            {
                word = other;
                continue;
            }
            self.moved.wait(&mut parking);
            word = self.word.0.load(Ordering::Acquire);
        }
    }

    /// Whether a waiter for `version` has its answer.
    fn settled(&self, word: u64, version: Version) -> Option<Result<(), Poisoned>> {
        if word & VERSION_MAX >= version {
            return Some(Ok(()));
        }
        let never = word & POISONED != 0 && (version >= self.lost.load(Ordering::Acquire) || version > self.assigned());
        never.then(|| Err(self.poisoned(word & VERSION_MAX)))
    }

    /// Takes no more commits. Those in flight still become visible, up to the first that was lost.
    pub(crate) fn poison(&self, cause: Cause) -> bool {
        let first = self.cause.latch(cause);
        self.word.0.fetch_or(POISONED, Ordering::AcqRel);
        self.wake_all();
        first
    }

    /// The commit that got `version` will never be complete.
    pub(crate) fn lose(&self, version: Version) {
        if self.faults.plants(Fault::LostCommitGoesUnnoticed) {
            return;
        }
        self.lost.fetch_min(version, Ordering::AcqRel);
        self.poison(std::sync::Arc::new(LostCommit { version }));
    }

    pub(crate) fn poisoned_by(&self) -> Option<Poisoned> {
        self.cause.cause().map(|cause| Poisoned { cause })
    }

    /// The flag is set after the cause, so there always is one.
    #[cold]
    fn poisoned(&self, visible: Version) -> Poisoned {
        let cause = self.cause.cause();
        Poisoned { cause: cause.unwrap_or_else(|| std::sync::Arc::new(LostCommit { version: visible + 1 })) }
    }

    fn wake_all(&self) {
        if self.faults.plants(Fault::WakerSkipsLock) {
            self.moved.notify_all();
            return;
        }
        // A waiter that announced itself holds this lock until it is parked.
        drop(self.parking.lock());
        self.moved.notify_all();
    }
}
