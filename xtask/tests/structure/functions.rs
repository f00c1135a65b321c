//! A function fits a screen: 70 lines at the most. Those that do not yet are listed, and the list only shrinks.

use std::collections::BTreeSet;

use crate::workspace::{TextFile, tracked_files};

const FUNCTION_LINES_MAX: usize = 70;

/// `path name`, one a line.
const LONG: &str = include_str!("../../long-functions.txt");

#[test]
fn functions_fit_a_screen() {
    let mut long = BTreeSet::new();
    for file in tracked_files().iter().filter(|file| file.is_rust() && !file.is_generated()) {
        long.extend(long_functions(file));
    }
    let listed: BTreeSet<String> = LONG.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect();
    let new: Vec<_> = long.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(&long).collect();
    assert!(new.is_empty(), "over {FUNCTION_LINES_MAX} lines: {new:#?}");
    assert!(gone.is_empty(), "no longer too long, take them off xtask/long-functions.txt: {gone:#?}");
}

/// Relies on rustfmt: a function ends with the first closing brace in the column in which it starts.
fn long_functions(file: &TextFile) -> Vec<String> {
    let lines: Vec<&str> = file.text.lines().collect();
    let mut long = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else { continue };
        let indent = &line[..line.len() - line.trim_start().len()];
        let end = lines[start..].iter().position(|line| {
            line.strip_prefix(indent).is_some_and(|rest| rest == "}" || rest.ends_with(';') && !rest.starts_with(' '))
        });
        if end.is_some_and(|end| end + 1 > FUNCTION_LINES_MAX) {
            long.push(format!("{} {name}", file.path));
        }
    }
    long
}

fn function_name(line: &str) -> Option<&str> {
    let mut rest = line.trim_start();
    for word in ["pub(crate) ", "pub(super) ", "pub ", "const ", "async ", "unsafe ", "extern \"C\" "] {
        rest = rest.strip_prefix(word).unwrap_or(rest);
    }
    let name = rest.strip_prefix("fn ")?;
    name.split(['(', '<']).next()
}

#[test]
fn a_planted_long_function_is_found() {
    let function = |lines: usize| {
        let body = "        x();\n".repeat(lines - 2);
        TextFile::of(
            "a.rs",
            &format!("impl A {{\n    pub(crate) fn long<T>(x: T) {{\n{body}    }}\n}}\n\nfn short() {{}}\n"),
        )
    };
    assert!(long_functions(&function(FUNCTION_LINES_MAX)).is_empty());
    assert_eq!(long_functions(&function(FUNCTION_LINES_MAX + 1)), ["a.rs long"]);
}
