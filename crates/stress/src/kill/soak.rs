//! Rounds until enough: start, kill, check, and again on the same store.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use base::rng::Rng;
use engine::{CompactOptions, VerifyOptions};

use crate::content::mix;
use crate::kill::child::{Portion, StopAt};
use crate::kill::expected::{Expected, Flaw};
use crate::kill::round::Round;
use crate::kill::{Phase, Place};

/// When a soak ends.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Not before as many rounds.
    pub rounds_min: u64,
    /// Not before as much time has passed.
    pub time_min: Duration,
    /// Not before a kill has fallen into each phase, unless `time_max` has passed.
    pub every_phase: bool,
    /// Never later, but for the round that is under way.
    pub time_max: Duration,
}

/// What a soak came to.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Children started.
    pub rounds: u64,
    /// Transactions acknowledged.
    pub commits: u64,
    /// Children killed.
    pub kills: u64,
    /// Rounds after which acknowledged transactions were missing.
    pub lost: u64,
    /// Rounds after which anything else did not hold.
    pub wrong: u64,
    /// Kills that fell into each phase.
    pub by_phase: BTreeMap<Phase, u64>,
    /// What was lost or wrong.
    pub flaws: Vec<Flaw>,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rounds, commits, kills, lost, wrong, .. } = self;
        write!(f, "rounds={rounds} commits={commits} kills={kills} lost={lost} wrong={wrong}")
    }
}

impl Tally {
    /// Kills by phase, in one line.
    #[must_use]
    pub fn phases(&self) -> String {
        let counts = Phase::ALL.map(|phase| format!("{phase} {}", self.by_phase.get(&phase).unwrap_or(&0)));
        format!("kills by phase: {}", counts.join(", "))
    }

    fn has_every_phase(&self, place: Place<'_>) -> bool {
        place.phases().iter().all(|phase| self.by_phase.contains_key(phase))
    }

    fn note(&mut self, flaw: Flaw) {
        match flaw {
            Flaw::Lost(_) => self.lost += 1,
            Flaw::Wrong(_) => self.wrong += 1,
        }
        self.flaws.push(flaw);
    }
}

/// Kills and checks until `limits` or the first flaw. `program` is the `stress` binary.
#[must_use]
pub fn soak(program: &Path, place: Place<'_>, seed: u64, limits: Limits) -> Tally {
    let mut tally = Tally::default();
    if let Err(error) = fs::create_dir_all(place.dir) {
        tally.note(Flaw::Wrong(format!("{} cannot be made: {error}", place.dir.display())));
        return tally;
    }
    let (began, mut expected) = (Instant::now(), Expected::new(seed));
    let enough = |tally: &Tally| {
        let past = began.elapsed();
        let done = tally.rounds >= limits.rounds_min && past >= limits.time_min;
        past >= limits.time_max || (done && (!limits.every_phase || tally.has_every_phase(place)))
    };
    while !enough(&tally) {
        let mut rng = Rng::new(mix(&[seed, tally.rounds, 3]));
        let round = choose(program, place, seed, &tally, &mut rng);
        tally.rounds += 1;
        let outcome = round.run(&mut expected).and_then(|killed| {
            tally.kills += 1;
            tally.commits += killed.acknowledged;
            for phase in Phase::ALL.into_iter().filter(|phase| killed.phases & phase.bit() != 0) {
                *tally.by_phase.entry(phase).or_default() += 1;
            }
            // Sometimes the next child is the first to see what the kill has left.
            if rng.one_in(4) { Ok(()) } else { check(place, &mut expected, &mut rng) }
        });
        if let Err(flaw) = outcome {
            eprintln!("round {}: {flaw} ({round:?})", tally.rounds);
            tally.note(flaw);
            return tally;
        }
    }
    if let Err(flaw) = check(place, &mut expected, &mut Rng::new(seed)) {
        tally.note(flaw);
    }
    tally
}

/// A random moment, or a chosen step of a phase, one that no kill has fallen into yet if there is any.
fn choose<'a>(program: &'a Path, place: Place<'a>, seed: u64, tally: &Tally, rng: &mut Rng) -> Round<'a> {
    if rng.one_in(2) {
        let delay = Duration::from_millis(5 + rng.below(295));
        return Round { program, place, seed, delay, stop_at: None };
    }
    let all = place.phases();
    let missing: Vec<_> = all.iter().filter(|phase| !tally.by_phase.contains_key(phase)).copied().collect();
    let from = if missing.is_empty() { &all } else { &missing };
    let phase = from.get(rng.below(from.len() as u64) as usize).copied().unwrap_or(Phase::Commit);
    let portions = [Portion::None, Portion::Half, Portion::All];
    let portion = portions.get(rng.below(3) as usize).copied().unwrap_or(Portion::None);
    // Mostly among the first steps, which are of different kinds, but of commits, which are many.
    let step = 1 + if phase == Phase::Commit { rng.below(2_000) } else { rng.below(24) };
    Round { program, place, seed, delay: Duration::from_millis(600), stop_at: Some(StopAt { phase, step, portion }) }
}

/// Opens the store in this process and compares all of it.
fn check(place: Place<'_>, expected: &mut Expected, rng: &mut Rng) -> Result<(), Flaw> {
    let store = place.store_dir();
    if !store.join("CURRENT").exists() && expected.transactions() == 0 {
        // Killed before there was a store.
        return Ok(());
    }
    if rng.one_in(4) {
        match place.options().open_read_only(&store) {
            Ok(db) => expected.check(&db)?,
            // Killed while it was being made.
            Err(_) if expected.transactions() == 0 => {}
            Err(error) => return Err(error.into()),
        }
    }
    let db = place.options().open(&store)?;
    expected.check(&db)?;
    if rng.one_in(8) {
        db.verify(VerifyOptions::new())?;
    }
    match rng.below(8) {
        0 => drop(db.compact(.., CompactOptions::new())?),
        1 => db.flush()?,
        2 | 3 => return Ok(db.close()?),
        _ => return Ok(()),
    }
    expected.check(&db)
}
