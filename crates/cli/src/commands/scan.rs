//! `ratel scan`: entries as lines that `import` reads.

use std::io::{self, BufWriter, Write};

use engine::{Item, Read, ScanOptions};
use serde_json::{Map, Value};

use crate::args::Scan;
use crate::base64;
use crate::escape::escape;
use crate::exit::{Code, Failure};
use crate::store::{Opener, typed};

const WRITE_BUFFER_BYTES: usize = 256 << 10;

pub(crate) fn run(arguments: &Scan, opener: &Opener) -> Result<Code, Failure> {
    let mut options = ScanOptions::new().reverse(arguments.reverse).fill_cache(false);
    if let Some(prefix) = &arguments.prefix {
        options = options.prefix(typed("prefix", prefix)?);
    }
    if let Some(limit) = arguments.limit {
        options = options.limit(usize::try_from(limit).unwrap_or(usize::MAX));
    }
    let db = opener.for_reading(&arguments.store)?;
    let mut output = BufWriter::with_capacity(WRITE_BUFFER_BYTES, io::stdout().lock());
    for item in db.snapshot().scan(options) {
        let line = line(&item?, arguments)?;
        writeln!(output, "{line}").map_err(|error| Failure::output(&error))?;
    }
    output.flush().map_err(|error| Failure::output(&error))?;
    db.close()?;
    Ok(Code::Done)
}

fn line(item: &Item, arguments: &Scan) -> Result<String, Failure> {
    if arguments.keys_only {
        return Ok(escape(item.key()));
    }
    if arguments.jsonl {
        return Ok(item.value_with(|value| json(item.key(), value, item.user_meta()))?);
    }
    Ok(item.value_with(|value| format!("{}\t{}", escape(item.key()), escape(value)))?)
}

fn json(key: &[u8], value: &[u8], user_meta: u8) -> String {
    let mut object = Map::new();
    put_bytes(&mut object, "key", "key_base64", key);
    put_bytes(&mut object, "value", "value_base64", value);
    if user_meta != 0 {
        object.insert("user_meta".to_owned(), user_meta.into());
    }
    Value::Object(object).to_string()
}

/// Text as text, anything else as base64.
fn put_bytes(object: &mut Map<String, Value>, text: &str, binary: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(valid) => object.insert(text.to_owned(), valid.into()),
        Err(_) => object.insert(binary.to_owned(), base64::encode(bytes).into()),
    };
}
