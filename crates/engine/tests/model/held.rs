//! Iterators that are held over many steps, each in a thread of its own, and a clock that the steps move.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use base::clock::Clock;
use engine::{Item, KeyspaceSnapshot, Read, ScanOptions};

/// Gives items when asked for some. Once it is dropped, nothing of it is left.
#[derive(Debug)]
pub(crate) struct HeldIter {
    asked: Option<Sender<usize>>,
    items: Receiver<Vec<Item>>,
    thread: Option<JoinHandle<()>>,
}

impl HeldIter {
    pub(crate) fn begin(snapshot: KeyspaceSnapshot, reverse: bool) -> Self {
        let (asked, asks) = channel();
        let (gives, items) = channel();
        let thread = std::thread::spawn(move || {
            let mut iter = snapshot.scan(ScanOptions::new().reverse(reverse));
            while let Ok(count) = asks.recv() {
                let some = iter.by_ref().take(count).map(Result::unwrap).collect();
                gives.send(some).unwrap();
            }
        });
        let held = Self { asked: Some(asked), items, thread: Some(thread) };
        // From here on it has pinned what it reads.
        held.take(0);
        held
    }

    pub(crate) fn take(&self, count: usize) -> Vec<Item> {
        self.asked.as_ref().unwrap().send(count).unwrap();
        self.items.recv().unwrap()
    }
}

impl Drop for HeldIter {
    fn drop(&mut self) {
        self.asked = None;
        let _ = self.thread.take().unwrap().join();
    }
}

/// Shows the seconds that the model says; time to be waited for is always over.
#[derive(Debug)]
pub(crate) struct ModelClock {
    seconds: AtomicU64,
    looks: AtomicU64,
}

impl ModelClock {
    pub(crate) fn new(seconds: u64) -> Self {
        Self { seconds: AtomicU64::new(seconds), looks: AtomicU64::new(0) }
    }

    pub(crate) fn set(&self, seconds: u64) {
        self.seconds.store(seconds, Ordering::Relaxed);
    }
}

impl Clock for ModelClock {
    fn unix_seconds(&self) -> u64 {
        self.seconds.load(Ordering::Relaxed)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_secs(self.looks.fetch_add(1, Ordering::Relaxed))
    }
}
