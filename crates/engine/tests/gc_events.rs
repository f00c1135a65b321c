//! Who listens is told of each step of a collection, and may use the store meanwhile.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a failed test panics")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use engine::{Db, EventListener, GcEvent, GcOptions, GcPolicy, Options};

/// A store whose listener reads, writes, flushes and compacts it, and asks for another collection.
#[derive(Default)]
struct Busy {
    db: OnceLock<Db>,
    was_running: AtomicBool,
}

impl EventListener for Busy {
    fn gc(&self, event: &GcEvent) {
        let Some(db) = self.db.get() else { return };
        let name = format!("{event:?}");
        db.insert(&name, name.repeat(100)).unwrap();
        assert!(db.get(&name).unwrap().unwrap() == name.repeat(100).into_bytes());
        db.flush().unwrap();
        db.compact(.., engine::CompactOptions::new()).unwrap();
        let again = db.gc().run_once(GcOptions::new()).unwrap();
        self.was_running.fetch_or(again.already_running, Ordering::AcqRel);
    }
}

#[test]
fn a_listener_may_use_the_store_at_every_event() {
    for inline in [true, false] {
        let busy = Arc::new(Busy::default());
        let options = Options::new().memtable_size(64 << 10).value_log_file_size(64 << 10).gc(GcPolicy::Manual);
        let options = options.event_listener(busy.clone());
        let db = if inline { options.inline_background() } else { options }.open_in_memory().unwrap();
        for number in 0..180_u8 {
            db.insert([number % 60], vec![number; 2_000]).unwrap();
        }
        let _ = busy.db.set(db.clone());
        let report = db.gc().run_once(GcOptions::new().discard_ratio(0.05).find_garbage(true)).unwrap();
        assert!(!report.segments.is_empty() && busy.was_running.load(Ordering::Acquire), "{report:?}");
        assert!((0..60).all(|key| db.get([key]).unwrap().unwrap() == vec![key + 120; 2_000]));
        db.close().unwrap();
    }
}
