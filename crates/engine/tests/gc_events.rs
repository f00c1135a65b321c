//! Who listens is told of each step of a collection, and may use the store meanwhile.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a failed test panics")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use engine::{Db, ErrorKind, EventListener, GcEvent, GcOptions, GcPolicy, Options};

/// A store whose listener reads, writes, flushes and compacts it, and asks for another collection.
#[derive(Default)]
struct Busy {
    db: OnceLock<Db>,
    was_running: AtomicBool,
}

impl Busy {
    fn use_store(&self, db: &Db, event: &GcEvent) -> engine::Result<()> {
        let name = format!("{event:?}");
        db.insert(&name, name.repeat(100))?;
        assert!(db.get(&name)?.unwrap() == name.repeat(100).into_bytes());
        db.flush()?;
        db.compact(.., engine::CompactOptions::new())?;
        let again = db.gc().run_once(GcOptions::new())?;
        self.was_running.fetch_or(again.already_running, Ordering::AcqRel);
        Ok(())
    }
}

impl EventListener for Busy {
    fn gc(&self, event: &GcEvent) {
        let outcome = self.db.get().map_or(Ok(()), |db| self.use_store(db, event));
        // The last event may come while the store is being closed.
        assert!(outcome.as_ref().err().is_none_or(|error| error.kind() == ErrorKind::Closed), "{outcome:?}");
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
