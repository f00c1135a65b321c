//! What is done while crashes are taken: appends, syncs, seals, deaths, collections and reopenings, as the seed says.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

use base::rng::Rng;
use base::{SegmentId, ValuePointer};
use vfs::{FaultFs, Vfs};
use vlog::{CollectContext, CollectStep, Options, RecoveryInput, ValueLog, segment_path};

use crate::support::{Address, DIR, Held, Sample, address, dead_and_all, end_of, sealed};
use crate::{Known, Planted};

struct Work<'a> {
    fs: &'a FaultFs,
    log: ValueLog,
    known: &'a Mutex<Known>,
    planted: Planted,
    rng: RefCell<Rng>,
    number: &'a Cell<u64>,
    held: RefCell<Vec<Held>>,
}

pub(crate) fn work(fs: &FaultFs, options: &Options, known: &Mutex<Known>, seed: u64, planted: Planted) {
    let number = Cell::new(0);
    for run in 0..2 {
        let live: Vec<u64> = known.lock().unwrap().live.iter().copied().collect();
        let synced = known.lock().unwrap().synced;
        let input = RecoveryInput { synced, live_tickets: &live, must_exist: known.lock().unwrap().created };
        let (log, _) = ValueLog::open(Arc::new(fs.clone()), DIR, options.clone(), input).unwrap();
        known.lock().unwrap().created = true;
        log.finish_recovery().unwrap();
        live.iter().for_each(|ticket| known.lock().unwrap().apply(*ticket));
        log.remove_orphans().unwrap();
        let rng = RefCell::new(Rng::new(seed * 2 + run));
        let work = Work { fs, log, known, planted, rng, number: &number, held: RefCell::default() };
        (0..20).for_each(|_| work.turn());
    }
}

impl Work<'_> {
    fn known<T>(&self, with: impl FnOnce(&mut Known) -> T) -> T {
        with(&mut self.known.lock().unwrap())
    }

    fn below(&self, bound: u64) -> u64 {
        self.rng.borrow_mut().below(bound)
    }

    fn turn(&self) {
        self.append();
        match self.below(8) {
            0 => drop(self.log.seal_full().unwrap()),
            1 => self.kill(),
            2 => self.apply_pending(),
            3 | 4 => self.collect(),
            5 => self.held.borrow_mut().push((self.log.segments(), self.known(|known| known.readable()))),
            6 => {
                self.held.borrow_mut().clear();
                self.log.remove_released().unwrap();
            }
            _ => assert!(self.log.sync().unwrap() <= self.log.head()),
        }
        for (set, records) in &*self.held.borrow() {
            records.iter().for_each(|(sample, pointer)| assert_eq!(set.read(*pointer).unwrap(), sample.value));
        }
        // As the next record of a write-ahead log would say.
        self.known(|known| known.synced = self.log.synced());
    }

    fn append(&self) {
        for _ in 0..self.below(3) {
            self.number.set(self.number.get() + 1);
            let sample = Sample::of(self.number.get(), self.below(600) as usize);
            let pointer = sample.append(&self.log).unwrap();
            self.known(|known| known.written.push((sample, pointer)));
        }
    }

    /// The life of a death ticket: prepared, named by an edit, noted or applied at once or later, cleared by another edit, removed.
    fn kill(&self) {
        let synced = self.log.synced();
        let mut dying = self.known(|known| known.readable());
        dying.retain(|(_, pointer)| end_of(pointer) <= synced && self.below(4) == 0);
        let dying: Vec<ValuePointer> = dying.into_iter().map(|(_, pointer)| pointer).collect();
        self.number.set(self.number.get() + 1);
        let ticket = self.number.get();
        // What an edit kills has been synced, and the log of the user knows it.
        self.known(|known| known.synced = synced);
        self.log.prepare_deaths(ticket, &dying).unwrap();
        self.known(|known| {
            known.deaths.insert(ticket, dying);
            known.live.insert(ticket);
        });
        match self.below(3) {
            0 => {}
            1 => assert!(self.log.note_deaths(&[ticket]).unwrap().is_empty()),
            _ => self.apply(&[ticket]),
        }
    }

    fn apply_pending(&self) {
        let live: Vec<u64> = self.known(|known| known.live.iter().copied().collect());
        self.apply(&live);
    }

    fn apply(&self, tickets: &[u64]) {
        if self.below(2) == 0 {
            assert!(self.log.note_deaths(tickets).unwrap().is_empty());
            self.log.settle_deaths().unwrap();
        } else {
            self.log.apply_deaths(tickets).unwrap();
        }
        tickets.iter().for_each(|ticket| self.known(|known| known.apply(*ticket)));
        if self.below(2) == 0 {
            self.log.clear_deaths(tickets).unwrap();
        }
    }

    fn collect(&self) {
        let mut chosen = sealed(&self.log);
        chosen.retain(|_| self.below(3) > 0);
        let leaving = RefCell::new(BTreeSet::new());
        let step = |step| {
            match self.below(4) {
                0 => self.kill(),
                1 => self.apply_pending(),
                2 => {
                    self.append();
                    self.log.seal_full().unwrap();
                }
                _ => {}
            }
            if step == CollectStep::Scan {
                let dead: BTreeSet<Address> =
                    chosen.iter().flat_map(|id| dead_and_all(&self.log, *id).unwrap().0).collect();
                self.known(|known| known.leaving.extend(&dead));
                leaving.replace(dead);
            }
            self.plant(step, &chosen, &leaving.borrow());
        };
        let context = CollectContext { pace: &|_| ControlFlow::Continue(()), step: &step };
        self.log.collect(&chosen, &context).unwrap().unwrap();
        self.known(|known| known.gone.extend(&*leaving.borrow()));
        if self.below(2) == 0 {
            self.log.remove_released().unwrap();
        }
    }

    fn plant(&self, step: CollectStep, chosen: &[SegmentId], leaving: &BTreeSet<Address>) {
        match (self.planted, step) {
            (Planted::DeathForgotten, CollectStep::Sync) => self.known(|known| {
                let synced = known.synced;
                let alive = |(_, pointer): &&(Sample, ValuePointer)| {
                    chosen.contains(&pointer.segment)
                        && end_of(pointer) <= synced
                        && !known.dead.contains(&address(pointer))
                };
                let forgotten = known.written.iter().find(alive).map(|(_, pointer)| address(pointer));
                known.dead.extend(forgotten);
            }),
            (Planted::CollectedTooEarly, CollectStep::Commit) => self.known(|known| known.gone.extend(leaving)),
            (Planted::RemovedTooEarly, CollectStep::Commit) => {
                for id in chosen {
                    self.fs.remove_file(&segment_path(DIR.as_ref(), *id)).unwrap();
                }
            }
            _ => {}
        }
    }
}
