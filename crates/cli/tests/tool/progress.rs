//! Progress is shown on a terminal and nowhere else.

use std::fs;
use std::process::{Command, Stdio};

use crate::folder::{Folder, skipped};

/// Commands that may take long, and what they say meanwhile.
const LONG: [(&str, &str); 5] = [
    ("import store --dir tree", "importing"),
    ("import store --tsv lines", "importing"),
    ("verify store", "verifying"),
    ("export store --dir out", "exporting"),
    ("bench fillseq --num 100 --dir .", "measuring"),
];

fn folder(test: &str) -> Folder {
    let folder = Folder::new(test);
    fs::create_dir(folder.path("tree")).unwrap();
    fs::write(folder.path("tree/file"), "x").unwrap();
    fs::write(folder.path("lines"), "k\tv\n").unwrap();
    folder
}

#[test]
fn long_work_shows_progress_on_a_terminal() {
    if Command::new("script").arg("--version").stdout(Stdio::null()).status().is_err() {
        skipped("progress on a terminal, since there is no `script` to make one with");
        return;
    }
    let folder = folder("shows_progress");
    for (arguments, says) in LONG {
        let command = format!("{} {arguments}", env!("CARGO_BIN_EXE_ratel"));
        let mut script = Command::new("script");
        script.args(["-qec", &command, "/dev/null"]).current_dir(folder.path(".")).env("TERM", "xterm");
        let output = script.stdin(Stdio::null()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains(says), "{arguments}: {text:?}");
    }
}

#[test]
fn long_work_is_silent_where_there_is_no_terminal() {
    let folder = folder("is_silent");
    for (arguments, _) in LONG {
        let run = folder.ratel(arguments.split(' ')).ends_with(0);
        assert_eq!(run.stderr, "", "{arguments}");
        assert!(!run.text().contains('\u{1b}') && !run.text().contains('\r'), "{arguments}: {:?}", run.text());
    }
}
