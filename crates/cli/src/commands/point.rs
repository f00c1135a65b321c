//! `ratel get`, `put` and `del`: one key at a time.

use std::io::{self, Write};

use engine::{Options, WriteBatch};

use crate::args::{Del, Get, Put};
use crate::escape::escape;
use crate::exit::{Code, Failure};
use crate::store::{Opener, read_value, typed};

pub(crate) fn get(arguments: &Get, opener: &Opener) -> Result<Code, Failure> {
    let key = typed("key", &arguments.key)?;
    let db = opener.for_reading(&arguments.store)?;
    let Some(value) = db.get(&key)? else {
        return Err(Failure::new(Code::NotFound, format!("{}: there is no such key", escape(&key))));
    };
    let mut output = io::stdout().lock();
    output.write_all(&value).and_then(|()| output.flush()).map_err(|error| Failure::output(&error))?;
    db.close()?;
    Ok(Code::Done)
}

pub(crate) fn put(arguments: &Put, opener: &Opener) -> Result<Code, Failure> {
    let key = typed("key", &arguments.key)?;
    let value = match (&arguments.value, &arguments.file) {
        (Some(text), _) => typed("value", text)?,
        (None, Some(path)) => read_value(path)?,
        (None, None) => return Err(Failure::usage("no value")),
    };
    let mut batch = WriteBatch::new();
    batch.insert(&key, &value)?;
    let db = opener.or_create(&arguments.store, Options::new())?;
    db.write(batch)?;
    db.sync()?;
    db.close()?;
    Ok(Code::Done)
}

pub(crate) fn delete(arguments: &Del, opener: &Opener) -> Result<Code, Failure> {
    let mut batch = WriteBatch::new();
    for text in &arguments.keys {
        batch.remove(typed("key", text)?)?;
    }
    let db = opener.existing(&arguments.store)?;
    db.write(batch)?;
    db.sync()?;
    db.close()?;
    Ok(Code::Done)
}
