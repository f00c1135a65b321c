//! `ratel bench`: workloads on a store of its own, which is gone afterwards.

use std::io;

use bench::{Arguments, Error, Ratel};

use crate::exit::{Code, Failure};

pub(crate) fn run(arguments: &Arguments) -> Result<Code, Failure> {
    match bench::run::<Ratel>(arguments, &mut io::stdout().lock()) {
        Ok(()) => Ok(Code::Done),
        Err(Error::Argument(message)) => Err(Failure::usage(message)),
        Err(Error::Engine(error)) => Err(error.into()),
        Err(Error::File { path, source }) => Err(Failure::file(&path, &source)),
        Err(Error::Output(error)) => Err(Failure::output(&error)),
        Err(error) => Err(Failure::new(Code::Failed, error.to_string())),
    }
}
