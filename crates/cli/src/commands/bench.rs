//! `ratel bench`: workloads on a store of its own, which is gone afterwards.

use std::io::{self, StdoutLock, Write};

use bench::{Arguments, Error, Ratel, Workload};

use crate::exit::{Code, Failure};
use crate::progress::Progress;

pub(crate) fn run(arguments: &Arguments) -> Result<Code, Failure> {
    match bench::run::<Ratel>(arguments, &mut Rows::new(arguments)) {
        Ok(()) => Ok(Code::Done),
        Err(Error::Argument(message)) => Err(Failure::usage(message)),
        Err(Error::Engine(error)) => Err(error.into()),
        Err(Error::File { path, source }) => Err(Failure::file(&path, &source)),
        Err(Error::Output(error)) => Err(Failure::output(&error)),
        Err(error) => Err(Failure::new(Code::Failed, error.to_string())),
    }
}

/// Standard output, which is flushed as each workload ends, with a progress line that names the next one.
struct Rows {
    out: StdoutLock<'static>,
    progress: Progress,
    /// Those that have not begun.
    workloads: std::vec::IntoIter<Workload>,
}

impl Rows {
    fn new(arguments: &Arguments) -> Self {
        // Arguments that are wrong are the benchmark's to refuse.
        let mut workloads = arguments.workloads().unwrap_or_default().into_iter();
        let progress = Progress::new("measuring");
        if arguments.json {
            // Otherwise a line with the columns' names comes first.
            tell_next(&progress, &mut workloads);
        }
        Self { out: io::stdout().lock(), progress, workloads }
    }
}

impl Write for Rows {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.progress.aside(|| self.out.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.progress.aside(|| self.out.flush())?;
        tell_next(&self.progress, &mut self.workloads);
        Ok(())
    }
}

fn tell_next(progress: &Progress, workloads: &mut impl Iterator<Item = Workload>) {
    if let Some(workload) = workloads.next() {
        progress.tell(workload.name().to_owned());
    }
}
