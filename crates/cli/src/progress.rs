//! A progress line for long work, on standard error, and only where that is a terminal.

use std::borrow::Cow;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

const REDRAW_INTERVAL: Duration = Duration::from_millis(120);

/// A line that says how far the work has come; gone when dropped.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    bytes: u64,
    count: u64,
}

impl Progress {
    /// A line led by what is being done.
    pub(crate) fn new(what: &'static str) -> Self {
        // Hidden by the library itself where standard error is no terminal.
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} {elapsed}: {msg}") {
            bar.set_style(style);
        }
        bar.set_prefix(what);
        bar.tick();
        bar.enable_steady_tick(REDRAW_INTERVAL);
        Self { bar, bytes: 0, count: 0 }
    }

    /// Says what is being worked on.
    pub(crate) fn tell(&self, what: impl Into<Cow<'static, str>>) {
        self.bar.set_message(what);
    }

    /// Prints something without the line in its way.
    pub(crate) fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        self.bar.suspend(print)
    }

    /// Counts one more item.
    pub(crate) fn add(&mut self, bytes: u64) {
        self.bytes += bytes;
        self.count += 1;
        if !self.bar.is_hidden() {
            let (count, bytes) = (crate::figures::count(self.count), crate::figures::bytes(self.bytes));
            self.bar.set_message(format!("{count}, {bytes}"));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
