//! Holds a collection at a chosen point, so that a test does something there.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, PoisonError};

use engine::{EventListener, GcEvent, GcStep};

/// A point that every collection comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Point {
    Searching,
    Began,
    Scan,
    Copy,
    Progress,
    Sync,
    Commit,
    Ended,
    Unlinked,
}

pub(crate) const POINTS: [Point; 9] = [
    Point::Searching,
    Point::Began,
    Point::Scan,
    Point::Copy,
    Point::Progress,
    Point::Sync,
    Point::Commit,
    Point::Ended,
    Point::Unlinked,
];

impl Point {
    fn of(event: &GcEvent) -> Option<Self> {
        match event {
            GcEvent::Searching => Some(Self::Searching),
            GcEvent::Began { .. } => Some(Self::Began),
            GcEvent::Step(GcStep::Scan) => Some(Self::Scan),
            GcEvent::Step(GcStep::Copy) => Some(Self::Copy),
            GcEvent::Progress { .. } => Some(Self::Progress),
            GcEvent::Step(GcStep::Sync) => Some(Self::Sync),
            GcEvent::Step(GcStep::Commit) => Some(Self::Commit),
            GcEvent::Ended { .. } => Some(Self::Ended),
            GcEvent::Unlinked { .. } => Some(Self::Unlinked),
            _ => None,
        }
    }
}

#[derive(Debug, Default)]
struct State {
    hold_at: Option<Point>,
    held: bool,
    seen: BTreeMap<Point, u64>,
}

/// Holds whoever collects.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

impl EventListener for Gate {
    fn gc(&self, event: &GcEvent) {
        let Some(point) = Point::of(event) else { return };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        *state.seen.entry(point).or_default() += 1;
        if state.hold_at.take_if(|hold_at| *hold_at == point).is_some() {
            state.held = true;
            self.changed.notify_all();
            while state.held {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

impl Gate {
    /// The first collection that comes to `point` is held there.
    pub(crate) fn hold_at(&self, point: Point) {
        self.state.lock().unwrap().hold_at = Some(point);
    }

    /// Waits until a collection is held, and lets it go on once what is returned is dropped. `None` where it has ended
    /// without having come there.
    pub(crate) fn wait(&self) -> Option<Held<'_>> {
        let mut state = self.state.lock().unwrap();
        while !state.held && state.hold_at.is_some() {
            state = self.changed.wait(state).unwrap();
        }
        state.held.then(|| Held(self))
    }

    /// Nobody comes any more.
    pub(crate) fn end(&self) {
        self.state.lock().unwrap().hold_at = None;
        self.changed.notify_all();
    }

    /// How often collections came to each point.
    pub(crate) fn seen(&self) -> BTreeMap<Point, u64> {
        self.state.lock().unwrap().seen.clone()
    }
}

/// A collection stands still while it lives.
pub(crate) struct Held<'a>(&'a Gate);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).held = false;
        self.0.changed.notify_all();
    }
}
