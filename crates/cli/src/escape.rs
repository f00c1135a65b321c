//! Binary keys and values as text that prints on any terminal and can be typed back in.
//!
//! ```text
//! \\  backslash      \t  tab      \n  newline      \r  carriage return      \xNN  the byte NN (two hex digits)
//! ```
//! Printable ASCII stands for itself, and so do letters and digits of any script where the bytes are valid UTF-8; all else
//! (control characters, marks that change direction or combine, bytes that are not UTF-8) is written as `\xNN`. Reading
//! takes every byte but a backslash as it is, so text that was typed without knowing of this means itself. A backslash
//! in front of anything else is an error: what is refused can be corrected, what is guessed at cannot.

use std::fmt::Write;

/// Text that [`unescape`] turns back into exactly these bytes.
pub(crate) fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        chunk.valid().chars().for_each(|character| push(character, &mut text));
        chunk.invalid().iter().for_each(|byte| push_hex(*byte, &mut text));
    }
    text
}

/// The bytes that a text stands for.
///
/// # Errors
/// Says where a backslash stands in front of something that has no meaning.
pub(crate) fn unescape(text: &[u8]) -> Result<Vec<u8>, EscapeError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, tail)) = rest.split_first() {
        if first != b'\\' {
            bytes.push(first);
            rest = tail;
            continue;
        }
        let (byte, tail) = escaped(tail).ok_or(EscapeError { position: text.len() - rest.len() })?;
        bytes.push(byte);
        rest = tail;
    }
    Ok(bytes)
}

/// A backslash that means nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {position}: a backslash is followed by neither of \\ t n r and xNN")]
pub(crate) struct EscapeError {
    position: usize,
}

fn push(character: char, text: &mut String) {
    match character {
        '\\' => text.push_str("\\\\"),
        '\t' => text.push_str("\\t"),
        '\n' => text.push_str("\\n"),
        '\r' => text.push_str("\\r"),
        ' '..='~' => text.push(character),
        _ if !character.is_ascii() && character.is_alphanumeric() => text.push(character),
        _ => character.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| push_hex(byte, text)),
    }
}

fn push_hex(byte: u8, text: &mut String) {
    // Writing to a string cannot fail.
    let _ = write!(text, "\\x{byte:02x}");
}

/// What stands behind a backslash, and what follows it.
fn escaped(text: &[u8]) -> Option<(u8, &[u8])> {
    Some(match text {
        [b'\\', rest @ ..] => (b'\\', rest),
        [b't', rest @ ..] => (b'\t', rest),
        [b'n', rest @ ..] => (b'\n', rest),
        [b'r', rest @ ..] => (b'\r', rest),
        [b'x', high, low, rest @ ..] => (hex_digit(*high)? << 4 | hex_digit(*low)?, rest),
        _ => return None,
    })
}

fn hex_digit(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_is_as_the_table_says() {
        assert_eq!(escape(b"src/lib.rs"), "src/lib.rs");
        assert_eq!(escape(b"a\\b\tc\nd\re\0\x7f"), r"a\\b\tc\nd\re\x00\x7f");
        assert_eq!(escape("gr\u{fc}n".as_bytes()), "gr\u{fc}n");
        assert_eq!(escape(b"\xff\xfe"), r"\xff\xfe");
        assert_eq!(escape("\u{202e}".as_bytes()), r"\xe2\x80\xae", "a mark that turns the direction of text");
    }

    #[test]
    fn a_backslash_without_meaning_is_refused_with_its_place() {
        for (text, position) in [("\\", 0), ("ab\\", 2), ("\\x1", 0), ("a\\q", 1), ("\\\\\\x0g", 2)] {
            assert_eq!(unescape(text.as_bytes()), Err(EscapeError { position }), "{text}");
        }
    }

    #[test]
    fn upper_case_hex_is_read() {
        assert_eq!(unescape(br"\xFF").unwrap(), [0xff]);
    }

    proptest! {
        #[test]
        fn what_is_printed_can_be_typed_back(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let text = escape(&bytes);
            prop_assert!(!text.chars().any(char::is_control), "{text:?}");
            prop_assert_eq!(unescape(text.as_bytes()).unwrap(), bytes);
        }

        #[test]
        fn so_can_any_text(text in "\\PC{0,40}") {
            prop_assert_eq!(unescape(escape(text.as_bytes()).as_bytes()).unwrap(), text.as_bytes());
        }

        #[test]
        fn any_input_is_read_or_refused(text in prop::collection::vec(prop::sample::select(&b"\\xtn0fg"[..]), 0..12)) {
            let _ = unescape(&text);
        }
    }
}
