//! The write path: from a batch to an acknowledged commit.
//!
//! A commit goes through these steps, each of which may only begin once the one before is done:
//!
//! 1. [`encode`]: the committer encodes its records into a buffer of its own thread, before any lock; [`threshold`] says
//!    which values go to the value log.
//! 2. [`pacer`]: it waits its turn if flush and compaction are behind.
//! 3. [`pipeline`]: under the commit lock it checks for conflicts, reserves room in the memtables ([`room`] switches
//!    them), appends large values to the value log and the commit to the write-ahead log, and takes its version.
//! 4. Off the lock, it inserts its own records into the memtables, side by side with other committers.
//! 5. [`sync`]: if it was asked to, it waits for the disk, with one sync for all who wait.
//! 6. Its version becomes visible once all before it are, and it returns.

pub(crate) mod encode;
mod failure;
pub(crate) mod pacer;
pub(crate) mod pipeline;
pub(crate) mod record;
pub(crate) mod room;
pub(crate) mod stall;
pub(crate) mod sync;
pub(crate) mod threshold;
