//! A store under the workload: what was acknowledged is kept beside it and compared.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};

use engine::{
    CommitOutcome, CompactOptions, Db, Durability, Error, ErrorKind, GcOptions, Health, Item, Keyspace, Read, Result,
    ScanOptions, VerifyOptions, WriteBatch, WriteOptions,
};
use vfs::{CrashMode, FaultFs, FaultPlan, MemFs, Operation, OperationRecord};

use crate::workload::{Afterwards, Expected, Step, options, second_options};

pub(crate) const STORE: &str = "/store";
/// As good as without an end.
pub(crate) const SPACE: u64 = 1 << 40;

/// Both keyspaces after some number of commits.
pub(crate) type State = [BTreeMap<Vec<u8>, Vec<u8>>; 2];

/// What a run of the workload came to, beside what it checked.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outcome {
    /// Calls that failed.
    pub(crate) errors: usize,
    /// Those among them that opened or closed the store.
    pub(crate) at_the_ends: usize,
    /// How often the store took no more writes.
    pub(crate) read_only: usize,
    /// Background jobs that failed.
    pub(crate) jobs: u64,
    /// Collections of value-log segments, as far as they were counted.
    pub(crate) collections: u64,
}

impl Outcome {
    pub(crate) fn add(&mut self, other: &Self) {
        self.errors += other.errors;
        self.at_the_ends += other.at_the_ends;
        self.read_only += other.read_only;
        self.jobs += other.jobs;
        self.collections += other.collections;
    }
}

/// A store under the workload, and what it must hold.
pub(crate) struct Run {
    pub(crate) memory: MemFs,
    pub(crate) fs: FaultFs,
    inline: bool,
    /// Whether a commit that failed is left out, where others are tried again.
    gives_up: bool,
    /// After how many failed calls the disk has space again, where it is full for a time.
    full_for: Option<usize>,
    expected: Expected,
    open: Option<(Db, Keyspace)>,
    /// The states after each acknowledged commit; the last is the one that readers must see.
    states: Vec<State>,
    /// The first of them that a power loss may lead back to.
    durable: usize,
    /// The state after a commit of which it is not known whether it stands.
    in_doubt: Option<State>,
    outcome: Outcome,
}

impl Run {
    pub(crate) fn new(inline: bool, expected: Expected, plan: FaultPlan) -> Self {
        let memory = MemFs::new(7);
        let fs = FaultFs::over_memory(memory.clone(), plan);
        let states = vec![State::default()];
        let outcome = Outcome::default();
        Self {
            memory,
            fs,
            inline,
            gives_up: false,
            full_for: None,
            expected,
            open: None,
            states,
            durable: 0,
            in_doubt: None,
            outcome,
        }
    }

    pub(crate) fn giving_up(mut self, gives_up: bool) -> Self {
        self.gives_up = gives_up;
        self
    }

    pub(crate) fn full_for(mut self, errors: usize) -> Self {
        self.full_for = Some(errors);
        self
    }

    /// Runs all steps. A step that fails is tried again: the fault has passed by then, or the store says that it takes
    /// no more writes and is opened anew.
    pub(crate) fn all(mut self, steps: &[Step]) -> Outcome {
        for (number, step) in steps.iter().enumerate() {
            for attempt in 0.. {
                assert!(attempt < 3 + self.full_for.unwrap_or(0), "step {number}, {step:?}, fails again and again");
                match self.step(number, *step) {
                    Ok(()) => break,
                    Err(error) => self.failed(&error, number),
                }
                if self.gives_up && matches!(step, Step::Commit(_)) {
                    break;
                }
            }
            self.reopen_if_read_only();
            if number % 5 == 4
                && let Some((db, second)) = &self.open
            {
                self.check_reads(db, second);
            }
        }
        self.fs.disarm_all();
        self.fs.clear_hook();
        self.memory.set_capacity(SPACE);
        self.check_files();
        self.outcome
    }

    /// Runs steps until the first call that fails; the store is then read once more, and dropped.
    pub(crate) fn until_it_fails(&mut self, steps: &[Step]) {
        for (number, step) in steps.iter().enumerate() {
            if let Err(error) = self.step(number, *step) {
                self.check_kind(&error);
                break;
            }
        }
        if let Some((db, second)) = self.open.take() {
            self.check_reads(&db, &second);
        }
    }

    fn step(&mut self, number: usize, step: Step) -> Result<()> {
        if self.open.is_none() {
            self.reopen()?;
        }
        let Some((db, second)) = &self.open else { panic!("no store") };
        match step {
            Step::Commit(_) | Step::Wide => {
                let (batch, next) = self.change(number, step, second);
                let durability = if let Step::Commit(durability) = step { durability } else { Durability::Os };
                if let Err(error) = db.write_with(batch, WriteOptions::new().durability(durability)) {
                    match error.commit_outcome() {
                        Some(CommitOutcome::NotApplied) => {}
                        Some(CommitOutcome::Unknown) => self.in_doubt = Some(next),
                        None => panic!("a failed write without an outcome: {error:?}"),
                    }
                    return Err(error);
                }
                self.states.push(next);
                if durability == Durability::Sync {
                    self.durable = self.states.len() - 1;
                }
            }
            Step::Sync => {
                db.sync()?;
                self.durable = self.states.len() - 1;
            }
            Step::Flush => {
                db.flush()?;
                self.durable = self.states.len() - 1;
            }
            Step::Compact => drop(db.compact(.., CompactOptions::new())?),
            Step::Collect => {
                db.gc().run_once(GcOptions::new().discard_ratio(0.05))?;
                self.outcome.collections += db.gc().status().collections;
            }
            Step::Drop => {
                self.outcome.jobs += db.metrics().background.background_failures;
                self.open = None;
            }
            Step::Close => {
                let (db, _) = self.open.take().unwrap();
                self.outcome.jobs += db.metrics().background.background_failures;
                db.close()?;
                self.durable = self.states.len() - 1;
            }
        }
        Ok(())
    }

    /// The batch of a commit, and the state that it leads to.
    fn change(&self, number: usize, step: Step, second: &Keyspace) -> (WriteBatch, State) {
        let (mut batch, mut state) = (WriteBatch::new(), self.states.last().unwrap().clone());
        let mut put = |which: usize, key: String, len: usize| {
            let value = format!("{number:04}").into_bytes().repeat(len / 4);
            match which {
                0 => batch.insert(&key, &value).unwrap(),
                _ => batch.keyspace(second).insert(&key, &value).unwrap(),
            }
            state[which].insert(key.into_bytes(), value);
        };
        if step == Step::Wide {
            (0..30).for_each(|key| put(1, format!("wide{key:03}"), 900));
        } else {
            put(0, format!("small{}", number % 5), 40);
            put(0, format!("large{}", number % 3), 400);
            put(1, format!("other{}", number % 4), 20);
            put(1, format!("large{}", number % 4), 1_200);
        }
        (batch, state)
    }

    fn reopen(&mut self) -> Result<()> {
        let options = if self.inline { options(&self.fs).inline_background() } else { options(&self.fs) };
        let db = options.open(STORE)?;
        let second = db.keyspace("second", second_options())?;
        let found = self.read(&db, &second);
        if self.in_doubt.as_ref() == Some(&found) {
            self.states.push(found);
        } else {
            self.check_state(&found);
        }
        self.in_doubt = None;
        self.durable = self.states.len() - 1;
        self.open = Some((db, second));
        Ok(())
    }

    fn check_state(&self, found: &State) {
        let expected = self.states.last().unwrap();
        if found != expected {
            let place = self.states.iter().position(|state| state == found);
            panic!("found state {place:?} of {} states, {} are durable", self.states.len(), self.durable);
        }
    }

    fn read(&self, db: &Db, second: &Keyspace) -> State {
        match read_all(db, second) {
            Ok(state) => state,
            Err(error) => {
                self.check_kind(&error);
                read_all(db, second).unwrap()
            }
        }
    }

    fn check_reads(&self, db: &Db, second: &Keyspace) {
        self.check_state(&self.read(db, second));
    }

    fn check_kind(&self, error: &Error) {
        // What failed behind the back of the caller is told by the next call.
        let is_final = [ErrorKind::ReadOnly, ErrorKind::Poisoned].contains(&error.kind())
            && self.expected.health != Afterwards::Clears;
        assert!(error.kind() == self.expected.kind || is_final, "{:?}: {error:?}", error.kind());
        let names_no_file = error.to_string().contains(&Operation::Entropy.to_string());
        assert!(names_no_file || error.to_string().contains(STORE), "no file is named: {error}");
    }

    fn failed(&mut self, error: &Error, number: usize) {
        self.outcome.errors += 1;
        self.outcome.at_the_ends += usize::from(self.open.is_none());
        if self.full_for == Some(self.outcome.errors) {
            self.memory.set_capacity(SPACE);
        }
        self.check_kind(error);
        self.check_power_loss(number as u64);
        self.reopen_if_read_only();
        if let Some((db, second)) = &self.open {
            self.check_reads(db, second);
        }
    }

    /// A store that has become read-only says why and goes on being read; opened anew, it is as before.
    fn reopen_if_read_only(&mut self) {
        let Some((db, second)) = &self.open else { return };
        let Health::ReadOnly(cause) = db.health() else { return };
        self.outcome.read_only += 1;
        assert!(self.expected.health != Afterwards::Clears, "read-only: {cause}");
        self.check_kind(&cause);
        for error in [db.insert("k", "v").unwrap_err(), second.remove("k").unwrap_err(), db.flush().unwrap_err()] {
            assert_eq!(error.kind(), ErrorKind::ReadOnly);
            assert!(error.to_string().contains(&cause.to_string()), "{error}, not {cause}");
        }
        self.check_reads(db, second);
        self.check_power_loss(0);
        let (db, _) = self.open.take().unwrap();
        self.outcome.jobs += db.metrics().background.background_failures;
        db.close().unwrap_err();
    }

    /// After a power loss at this moment, a prefix of the commits is there, with all that were acknowledged as durable. It
    /// can be read even while the disk is full.
    pub(crate) fn check_power_loss(&self, seed: u64) {
        for (mode, read_only) in
            [(CrashMode::DropUnsynced, false), (CrashMode::Random, true), (CrashMode::Random, false)]
        {
            let image = self.memory.crash_image(mode, seed);
            let fs = FaultFs::over_memory(image.clone(), FaultPlan::none());
            let opened = if read_only {
                options(&fs).open_read_only(STORE)
            } else {
                image.set_capacity(SPACE);
                options(&fs).inline_background().open(STORE)
            };
            let found = match opened.and_then(|db| read_all(&db, &db.keyspace("second", second_options())?)) {
                Ok(found) => found,
                // Power was lost before there was a store, or a second keyspace in it.
                Err(error)
                    if self.durable == 0
                        && read_only
                        && [ErrorKind::InvalidArgument, ErrorKind::ReadOnly].contains(&error.kind()) =>
                {
                    continue;
                }
                Err(error) => panic!("after a power loss ({mode:?}): {error:?}"),
            };
            let mut candidates = self.states[self.durable..].iter().chain(&self.in_doubt);
            let is_known = candidates.any(|state| *state == found);
            let place = self.states.iter().position(|state| *state == found);
            assert!(is_known, "after a power loss ({mode:?}) state {place:?}, but {} is durable", self.durable);
        }
    }

    /// The store, opened and closed without faults, is whole, and has no file but those it needs.
    pub(crate) fn check_files(&mut self) {
        self.inline = true;
        self.reopen().unwrap();
        let (db, second) = self.open.take().unwrap();
        db.verify(VerifyOptions::new()).unwrap();
        db.insert("last", "commit").unwrap();
        db.compact(.., CompactOptions::new()).unwrap();
        let tables: BTreeSet<_> = db.tables().into_iter().map(|table| table.path).collect();
        drop(second);
        db.close().unwrap();
        let db = options(&self.fs).inline_background().open(STORE).unwrap();
        let files: Vec<_> = self.memory.files().iter().map(|path| Path::new("/").join(path)).collect();
        let with = |extension: &str| {
            let has = |path: &&std::path::PathBuf| path.extension().is_some_and(|found| found == extension);
            files.iter().filter(has).cloned().collect::<BTreeSet<_>>()
        };
        assert_eq!(with("sst"), tables);
        assert_eq!((with("wal").len(), with("tmp").len(), with("deaths").len()), (1, 0, 0), "{files:?}");
        let manifests = files.iter().filter(|path| path.to_string_lossy().contains("/MANIFEST-"));
        assert_eq!(manifests.count(), 1, "{files:?}");
        let segments = with("vlog");
        let stem = |path: &Path| path.with_extension("vlog");
        let hints: BTreeSet<_> = with("hint").iter().map(|path| stem(path)).collect();
        assert_eq!(segments, hints, "every segment of a closed store is sealed");
        for companion in ["dead", "map"] {
            assert!(with(companion).iter().all(|path| segments.contains(&stem(path))), "{files:?}");
        }
        let bytes: usize = segments.iter().map(|path| self.memory.read(path).unwrap().len()).sum();
        let usage = db.size_on_disk();
        assert_eq!(usage.value_log_bytes, bytes as u64);
        // Every record that no entry points to is known to be dead.
        let second = db.keyspace("second", second_options()).unwrap();
        // A record that was collected says where it comes from.
        let status = db.gc().status();
        let collected = status.segments.iter().filter(|segment| segment.collected);
        let origins: u64 = collected.map(|segment| (segment.records - segment.dead_records) * 8).sum();
        let live = live_value_bytes(&db) + live_value_bytes(&second) + origins;
        let headers = (segments.len() * vlog::HEADER_LEN) as u64;
        assert_eq!(usage.value_log_dead_bytes + live + headers, bytes as u64, "{live} bytes are live");
    }
}

pub(crate) fn read_all(db: &Db, second: &Keyspace) -> Result<State> {
    let mut state = State::default();
    for item in db.iter() {
        let (key, value) = item?.into_pair()?;
        state[0].insert(key.into(), value.into());
    }
    for item in second.iter() {
        let (key, value) = item?.into_pair()?;
        state[1].insert(key.into(), value.into());
    }
    Ok(state)
}

/// Bytes of all records of the value log that an entry points to.
pub(crate) fn live_value_bytes(keyspace: &impl Read) -> u64 {
    let items = keyspace.scan(ScanOptions::new().all_versions(true)).map(|item| item.unwrap());
    let separated = items.filter(Item::is_separated);
    separated.map(|item| vlog::record_len(item.key().len(), item.value_len() as usize)).sum()
}

/// Every change that a run makes, in order.
pub(crate) fn changes(run: Run, steps: &[Step]) -> Vec<OperationRecord> {
    let records = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&records);
    run.fs.on_mutation(move |record| seen.lock().unwrap().push(record.clone()));
    run.all(steps);
    records.lock().unwrap().clone()
}
