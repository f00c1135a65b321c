//! One image: opened, checked, written to, crashed or closed, and checked again.

use std::sync::Arc;

use base::rng::Rng;
use base::sync::Mutex;
use engine::{CompactOptions, Db, Durability, ErrorKind, GcOptions, IoMode, KeyspaceOptions, VerifyOptions};
use vfs::{CrashMode, FaultFs, FaultPlan, MemFs, Vfs};

use crate::content::mix;
use crate::failure::ensure;
use crate::history::{History, KEYSPACES, open_keyspaces};
use crate::power_loss::workload::Past;
use crate::power_loss::{DIR, Making, tiny_options};
use crate::{Failure, Outcome};

/// Changes that a recovery makes at most, about: one of them is where a second crash comes.
const RECOVERY_CHANGES: u64 = 48;

/// What a crash may have left, and what was done before it.
pub(super) struct Image {
    pub(super) fs: MemFs,
    pub(super) making: Making,
    pub(super) mode: CrashMode,
    pub(super) seed: u64,
    pub(super) at: String,
    pub(super) past: Past,
}

impl Image {
    pub(super) fn mode_name(&self) -> &'static str {
        match self.mode {
            CrashMode::KeepAll => "keep-all",
            CrashMode::DropUnsynced => "drop-unsynced",
            CrashMode::KeepNames => "keep-names",
            CrashMode::Prefix => "prefix",
            CrashMode::Random => "random",
        }
    }

    /// Everything that must hold of it.
    pub(super) fn check(self) -> Outcome {
        let mut rng = Rng::new(mix(&[self.seed, 1]));
        let floor = if self.mode == CrashMode::KeepAll { self.past.acknowledged } else { self.past.synced };
        let mut life = Life {
            rng: rng.clone(),
            history: self.past.history,
            floor,
            keyspaces: self.past.keyspaces,
            making: self.making,
            run: 0,
        };
        let shown_before = if rng.one_in(8) { life.check_read_only(&self.fs)? } else { None };
        // A crash in the middle of the recovery must not matter either.
        if rng.one_in(3) {
            life.clone().crash_in_recovery(&self.fs, self.past.synced)?;
        }
        let shown = life.open_check_and_write(&self.fs)?;
        ensure(shown_before.is_none_or(|before| before == shown), || {
            format!("reading only shows {shown_before:?} commits, opening for writing {shown}")
        })
    }
}

/// A store over several crashes.
#[derive(Clone)]
struct Life {
    rng: Rng,
    history: History,
    /// Commits that must be there.
    floor: u64,
    keyspaces: usize,
    making: Making,
    /// Counts how often the store was written to after a crash.
    run: u64,
}

impl Life {
    /// What a store opened for reading only shows; nothing where there may be none yet.
    fn check_read_only(&mut self, fs: &MemFs) -> Outcome<Option<u64>> {
        let files = fs.files();
        let opened = tiny_options(Arc::new(fs.clone()), self.making).open_read_only(DIR);
        let db = match opened {
            Err(error) if self.keyspaces == 0 && is_no_store(&error) => return Ok(None),
            opened => opened.map_err(|error| Failure::from(error).during("opening for reading only"))?,
        };
        let shown = self.check_open(&db).map_err(|failure| failure.during("reading only"))?;
        drop(db);
        ensure(files == fs.files(), || "a store opened for reading only has changed files".to_owned())?;
        Ok(Some(shown))
    }

    fn open_check_and_write(mut self, fs: &MemFs) -> Outcome<u64> {
        let db = self.open(fs)?;
        let shown = self.check_open(&db).map_err(|failure| failure.during("the first check"))?;
        self.settle(&db, shown)?;
        if self.rng.one_in(4) {
            // Nothing is written: what was shown stays all the same.
            drop(db);
        } else {
            self.write(db)?;
        }
        self.crash_again(fs)?;
        Ok(shown)
    }

    fn open(&mut self, fs: &MemFs) -> Outcome<Db> {
        let io_mode = if self.rng.one_in(2) { IoMode::Mapped } else { IoMode::Pread };
        Ok(tiny_options(Arc::new(fs.clone()), self.making).io_mode(io_mode).open(DIR)?)
    }

    /// What the store shows, if it is all that it must and nothing that it may not.
    fn check_open(&mut self, db: &Db) -> Outcome<u64> {
        let found = db.keyspaces().len();
        ensure(found >= self.keyspaces.max(1), || format!("{found} keyspaces of {}", self.keyspaces))?;
        let shown = self.history.check(db)?;
        let floor = self.floor;
        ensure(shown >= floor, || format!("{shown} commits are there, {floor} were durable"))?;
        if self.rng.one_in(8) {
            db.verify(VerifyOptions::new()).map_err(|error| Failure::from(error).during("a verification"))?;
        }
        Ok(shown)
    }

    /// Takes what the store shows for what must be there from now on.
    fn settle(&mut self, db: &Db, shown: u64) -> Outcome {
        self.history.truncate(shown);
        self.floor = shown;
        self.keyspaces = self.keyspaces.max(2);
        for name in KEYSPACES.iter().take(self.keyspaces) {
            db.keyspace(name, KeyspaceOptions::new())?;
        }
        self.keyspaces = db.keyspaces().len();
        Ok(())
    }

    /// Writes a few commits, and closes the store, or leaves it as a crash finds it.
    fn write(&mut self, db: Db) -> Outcome {
        self.run += 1;
        let keyspaces = open_keyspaces(&db)?;
        let run = mix(&[self.run, self.rng.next_u64()]);
        for durability in [Durability::Os, Durability::Os, Durability::Sync, Durability::Os] {
            let commit = self.history.push(run, keyspaces.len());
            commit.write(&db, &keyspaces, durability)?;
            if durability == Durability::Sync {
                self.floor = commit.number;
            }
        }
        if self.rng.one_in(3) {
            let find = self.rng.one_in(2);
            db.gc().run_once(GcOptions::new().discard_ratio(0.02).find_garbage(find))?;
            self.history.check(&db).map_err(|failure| failure.during("the check after a collection"))?;
        }
        match self.rng.below(6) {
            0 => drop(db.compact(.., CompactOptions::new())?),
            1 => db.flush()?,
            2 => {
                self.floor = self.history.len();
                db.close()?;
            }
            _ => {}
        }
        Ok(())
    }

    fn crash_again(&mut self, fs: &MemFs) -> Outcome {
        let modes = [CrashMode::DropUnsynced, CrashMode::KeepAll, CrashMode::Prefix, CrashMode::Random];
        let mode = modes.get(self.rng.below(4) as usize).copied().unwrap_or(CrashMode::DropUnsynced);
        if mode == CrashMode::KeepAll {
            self.floor = self.history.len();
        }
        let seed = self.rng.next_u64();
        let doing = || format!("a second crash ({mode:?}, seed {seed})");
        let fs = fs.crash_image(mode, seed);
        let db = self.open(&fs).map_err(|failure| failure.during(doing()))?;
        let shown = self.check_open(&db).map_err(|failure| failure.during(doing()))?;
        self.settle(&db, shown)?;
        db.close()?;
        let db = self.open(&fs).map_err(|failure| failure.during("opening a closed store"))?;
        ensure(db.recovery_report().clean_shutdown, || "a closed store was not closed in order".to_owned())?;
        self.check_open(&db).map_err(|failure| failure.during("the check of a closed store"))?;
        Ok(())
    }

    /// Opens a copy, crashes it at one of the changes that the recovery makes, and checks what is left.
    fn crash_in_recovery(mut self, fs: &MemFs, synced: u64) -> Outcome {
        let memory = fs.crash_image(CrashMode::KeepAll, 0);
        let watched = FaultFs::over_memory(memory.clone(), FaultPlan::none());
        let at = self.rng.below(RECOVERY_CHANGES) + 1;
        let modes = [CrashMode::DropUnsynced, CrashMode::KeepAll, CrashMode::Random];
        let mode = modes.get(self.rng.below(3) as usize).copied().unwrap_or(CrashMode::DropUnsynced);
        if mode != CrashMode::KeepAll {
            // What only the death of the process had spared goes with the power.
            self.floor = synced;
        }
        let seed = self.rng.next_u64();
        let taken = Arc::new(Mutex::new(None));
        let take = Arc::clone(&taken);
        watched.on_mutation(move |record| {
            if record.number == at {
                *take.lock() = Some((memory.crash_image(mode, seed), record.to_string()));
            }
        });
        let watched: Arc<dyn Vfs> = Arc::new(watched);
        drop(tiny_options(watched, self.making).open(DIR)?);
        let Some((left, record)) = taken.lock().take() else { return Ok(()) };
        let doing = format!("a crash in the recovery ({mode:?}, seed {seed}) before {record}");
        self.open_check_and_write(&left).map(drop).map_err(|failure| failure.during(doing))
    }
}

/// Nothing is there yet, or not all that a reader needs.
fn is_no_store(error: &engine::Error) -> bool {
    matches!(error.kind(), ErrorKind::InvalidArgument | ErrorKind::Io)
}
