//! A function fits a screen: 70 lines at the most. Tests are free of this, since many hold the text or bytes that they
//! expect.

use crate::workspace::{TextFile, tracked_files};

const FUNCTION_LINES_MAX: usize = 70;

#[test]
fn functions_fit_a_screen() {
    let mut long = Vec::new();
    for file in tracked_files().iter().filter(|file| file.is_rust() && !file.is_generated() && !is_test(&file.path)) {
        long.extend(long_functions(file));
    }
    assert!(long.is_empty(), "over {FUNCTION_LINES_MAX} lines:\n{}", long.join("\n"));
}

fn is_test(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.split('/').any(|folder| folder == "tests" || folder == "benches")
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
    assert!(
        is_test("crates/a/tests/b.rs") && is_test("crates/a/src/b/tests.rs") && !is_test("crates/a/src/tests_of.rs")
    );
}
