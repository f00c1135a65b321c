//! Entries from text: one a line, as `key TAB value` or as a JSON object.
//!
//! TSV: key and value in the notation of [`crate::escape`], one tab between them.
//! JSONL: an object with `key` or `key_base64`, `value` or `value_base64`, and optionally `user_meta` (0 to 255). `key` and
//! `value` are text, stored as UTF-8; the other two are any bytes.
//!
//! Blank lines are passed over. An error names its line; what stood before it has been taken.

use std::io::{BufRead, Read};

use serde_json::{Map, Value};

use crate::base64;
use crate::escape::unescape;

/// Longest line in bytes. A larger value is a file for `put --file` or `import --dir`.
const LINE_LEN_MAX: u64 = 256 << 20;

/// How a line is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Tsv,
    Jsonl,
}

/// One entry of the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
    pub(crate) user_meta: u8,
}

/// A line that is no entry.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {what}")]
pub(crate) struct LineError {
    line: u64,
    what: String,
}

/// Reads entries; an iterator that ends at the first error.
#[derive(Debug)]
pub(crate) struct Lines<R> {
    input: R,
    format: Format,
    buffer: Vec<u8>,
    line: u64,
    failed: bool,
}

impl<R: BufRead> Lines<R> {
    pub(crate) fn new(input: R, format: Format) -> Self {
        Self { input, format, buffer: Vec::new(), line: 0, failed: false }
    }

    /// Fills the buffer with the next line, without its end; false at the end of the input.
    fn read_line(&mut self) -> Result<bool, String> {
        self.buffer.clear();
        self.line += 1;
        let mut limited = (&mut self.input).take(LINE_LEN_MAX + 1);
        let len = limited.read_until(b'\n', &mut self.buffer).map_err(|error| error.to_string())?;
        if self.buffer.len() as u64 > LINE_LEN_MAX {
            return Err(format!("longer than {LINE_LEN_MAX} bytes"));
        }
        if self.buffer.last() == Some(&b'\n') {
            self.buffer.pop();
            if self.buffer.last() == Some(&b'\r') {
                self.buffer.pop();
            }
        }
        Ok(len > 0)
    }

    fn next_record(&mut self) -> Result<Option<Record>, String> {
        while self.read_line()? {
            if self.buffer.is_empty() {
                continue;
            }
            let record = match self.format {
                Format::Tsv => parse_tsv(&self.buffer)?,
                Format::Jsonl => parse_json(&self.buffer)?,
            };
            if record.key.is_empty() {
                return Err("the key is empty".to_owned());
            }
            return Ok(Some(record));
        }
        Ok(None)
    }
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = Result<Record, LineError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        self.next_record()
            .map_err(|what| LineError { line: self.line, what })
            .inspect_err(|_| self.failed = true)
            .transpose()
    }
}

fn parse_tsv(line: &[u8]) -> Result<Record, String> {
    let mut fields = line.split(|byte| *byte == b'\t');
    let (Some(key), Some(value), None) = (fields.next(), fields.next(), fields.next()) else {
        return Err("not a key, one tab and a value".to_owned());
    };
    let key = unescape(key).map_err(|error| format!("key: {error}"))?;
    let value = unescape(value).map_err(|error| format!("value: {error}"))?;
    Ok(Record { key, value, user_meta: 0 })
}

fn parse_json(line: &[u8]) -> Result<Record, String> {
    let parsed: Value = serde_json::from_slice(line).map_err(|error| format!("not JSON: {error}"))?;
    let Value::Object(mut fields) = parsed else { return Err("not a JSON object".to_owned()) };
    let key = take_bytes(&mut fields, "key", "key_base64")?;
    let value = take_bytes(&mut fields, "value", "value_base64")?;
    let user_meta = match fields.remove("user_meta") {
        None => 0,
        Some(number) => {
            let number = number.as_u64().and_then(|number| u8::try_from(number).ok());
            number.ok_or_else(|| "\"user_meta\" is not a number from 0 to 255".to_owned())?
        }
    };
    match fields.keys().next() {
        Some(unknown) => Err(format!("unknown field {unknown:?}")),
        None => Ok(Record { key, value, user_meta }),
    }
}

fn take_bytes(fields: &mut Map<String, Value>, text: &str, binary: &str) -> Result<Vec<u8>, String> {
    match (fields.remove(text), fields.remove(binary)) {
        (Some(Value::String(text)), None) => Ok(text.into_bytes()),
        (None, Some(Value::String(encoded))) => {
            base64::decode(&encoded).ok_or_else(|| format!("{binary:?} is not valid base64"))
        }
        (None, None) => Err(format!("neither {text:?} nor {binary:?}")),
        (Some(_), Some(_)) => Err(format!("both {text:?} and {binary:?}")),
        (Some(_), None) => Err(format!("{text:?} is not a string")),
        (None, Some(_)) => Err(format!("{binary:?} is not a string")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, format: Format) -> Vec<Result<Record, String>> {
        Lines::new(text.as_bytes(), format).map(|record| record.map_err(|error| error.to_string())).collect()
    }

    fn record(key: &[u8], value: &[u8]) -> Record {
        Record { key: key.to_vec(), value: value.to_vec(), user_meta: 0 }
    }

    #[test]
    fn tsv_lines_become_entries() {
        let read = read("a\tb\n\n\\x00\\t\tx\\n\r\nlast\t", Format::Tsv);
        assert_eq!(read, [Ok(record(b"a", b"b")), Ok(record(b"\0\t", b"x\n")), Ok(record(b"last", b""))]);
    }

    #[test]
    fn json_lines_become_entries() {
        let text = "{\"key\":\"a\",\"value\":\"\\u00fc\"}\n{\"value_base64\":\"/w==\",\"key_base64\":\"AA==\",\"user_meta\":7}";
        let expected =
            [Ok(record(b"a", "\u{fc}".as_bytes())), Ok(Record { key: vec![0], value: vec![0xff], user_meta: 7 })];
        assert_eq!(read(text, Format::Jsonl), expected);
    }

    #[test]
    fn the_first_bad_line_is_named_and_ends_the_input() {
        let read = read("a\tb\n\nno tab\nc\td\n", Format::Tsv);
        assert_eq!(read, [Ok(record(b"a", b"b")), Err("line 3: not a key, one tab and a value".to_owned())]);
    }

    #[test]
    fn each_fault_is_told() {
        let faults = [
            (Format::Tsv, "a\tb\tc", "one tab"),
            (Format::Tsv, "\tb", "key is empty"),
            (Format::Tsv, "\\q\tb", "key: byte 0"),
            (Format::Tsv, "a\tb\\", "value: byte 1"),
            (Format::Jsonl, "[]", "not a JSON object"),
            (Format::Jsonl, "{", "not JSON"),
            (Format::Jsonl, "{\"key\":\"a\"}", "neither \"value\" nor \"value_base64\""),
            (Format::Jsonl, "{\"key\":1,\"value\":\"\"}", "\"key\" is not a string"),
            (Format::Jsonl, "{\"key\":\"a\",\"key_base64\":\"\",\"value\":\"\"}", "both"),
            (Format::Jsonl, "{\"key_base64\":\"!\",\"value\":\"\"}", "not valid base64"),
            (Format::Jsonl, "{\"key\":\"a\",\"value\":\"\",\"user_meta\":256}", "0 to 255"),
            (Format::Jsonl, "{\"key\":\"a\",\"value\":\"\",\"ttl\":1}", "unknown field \"ttl\""),
        ];
        for (format, line, expected) in faults {
            let read = read(line, format);
            assert!(matches!(&read[..], [Err(error)] if error.contains(expected)), "{line}: {read:?}");
        }
    }
}
