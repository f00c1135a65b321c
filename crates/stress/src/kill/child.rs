//! The process that is killed: it opens the store, goes on with each writer's transactions where the store has them, and
//! tells each acknowledgement. A reader beside the writers checks that no snapshot ever shows half of a transaction.

use std::path::Path;
use std::sync::Arc;
use std::thread;

use base::rng::Rng;
use engine::{Db, Keyspace, KeyspaceOptions, Read, WriteOptions};
use vfs::RealFs;

use crate::content::mix;
use crate::kill::message::Message;
use crate::kill::status::StatusPage;
use crate::kill::transaction::{Transaction, marked_number, marker_key};
use crate::kill::watched::{Watch, WatchedFs};
use crate::kill::{PAIR_KEYSPACE, Place, WRITERS};
use crate::{Failure, Outcome};

pub use crate::kill::watched::{Portion, StopAt};

/// A writer of an encrypted store replaces the data key after so many transactions.
const ROTATE_EVERY: u64 = 100;

/// Commits until it is killed.
///
/// # Errors
/// When the store cannot be opened, or does not do as it should; it never returns otherwise.
pub fn run(place: Place<'_>, status: &Path, seed: u64, stop_at: Option<StopAt>) -> Outcome {
    let watch = Arc::new(Watch::new(StatusPage::create(status)?, stop_at));
    let fs = WatchedFs::new(Arc::new(RealFs::new()), Arc::clone(&watch));
    let db = place.options().vfs(Arc::new(fs)).open(place.store_dir())?;
    let keyspaces =
        [db.keyspace("default", KeyspaceOptions::new())?, db.keyspace(PAIR_KEYSPACE, KeyspaceOptions::new())?];
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let number = newest(&keyspaces, writer)?;
        Message::Found { writer, number }.send_to_parent()?;
        writers.push((writer, number));
    }
    let (db, keyspaces, watch) = (&db, &keyspaces, &*watch);
    thread::scope(|scope| {
        let handles: Vec<_> = writers
            .into_iter()
            .map(|(writer, number)| {
                let rotates = place.encrypted && writer == 0;
                scope.spawn(move || write(db, keyspaces, watch, Transaction { seed, writer, number }, rotates))
            })
            .collect();
        scope.spawn(move || tell(read(db, keyspaces, seed)));
        handles.into_iter().for_each(|handle| {
            if let Ok(ended) = handle.join() {
                tell(ended);
            }
        });
    });
    Ok(())
}

/// The number of a writer's newest transaction, which must be the same in both keyspaces.
fn newest(keyspaces: &[Keyspace; 2], writer: u32) -> Outcome<u64> {
    let key = marker_key(writer);
    let [first, second] = [keyspaces[0].get(&key)?, keyspaces[1].get(&key)?];
    if first != second {
        return Err(Failure::new(format!("writer {writer}: the keyspaces show different transactions")));
    }
    first.map_or(Ok(0), |marker| {
        marked_number(&marker).ok_or_else(|| Failure::new(format!("writer {writer}: the marker is no number")))
    })
}

/// Commits transaction after transaction, the first behind `last`.
fn write(db: &Db, keyspaces: &[Keyspace; 2], watch: &Watch, last: Transaction, rotates: bool) -> Outcome {
    for number in last.number + 1.. {
        let transaction = Transaction { number, ..last };
        let batch = transaction.batch(keyspaces)?;
        let options = WriteOptions::new().durability(transaction.durability());
        let info = watch.commit(|| db.write_with(batch, options))?;
        let writer = transaction.writer;
        Message::Acknowledged { writer, number, version: info.version }.send_to_parent()?;
        if rotates && number.is_multiple_of(ROTATE_EVERY) {
            db.rotate_data_key()?;
        }
    }
    Ok(())
}

/// Reads through snapshots, in which the markers of both keyspaces must agree.
fn read(db: &Db, keyspaces: &[Keyspace; 2], seed: u64) -> Outcome {
    let mut rng = Rng::new(mix(&[seed, 7]));
    loop {
        let snapshot = db.snapshot();
        let key = marker_key(rng.below(WRITERS.into()) as u32);
        let views = [snapshot.keyspace(&keyspaces[0]), snapshot.keyspace(&keyspaces[1])];
        let first = views[0].get(&key)?;
        thread::yield_now();
        if first != views[1].get(&key)? {
            return Err(Failure::new(format!("a snapshot shows half of a transaction: {key} differs")));
        }
    }
}

/// Tells the parent that something does not hold.
fn tell(ended: Outcome) {
    if let Err(failure) = ended {
        eprintln!("child: {failure}");
        if Message::Wrong.send_to_parent().is_err() {
            eprintln!("child: the parent is gone");
        }
    }
}
