//! Runs the fuzz targets, all of them in turn or the one that is named.

use crate::root;
use crate::step::{Failure, Step};

const SECONDS_DEFAULT: u64 = 60;

pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    let (seconds, target) = parse(arguments)?;
    if !root().join("fuzz/Cargo.toml").exists() {
        return Err(Failure::step("fuzz", "there is no fuzz folder"));
    }
    if !fuzzer("fuzz").args(["--help"]).succeeds_silently() {
        return Err(Failure::step(
            "fuzz",
            "cargo-fuzz or the nightly toolchain is missing; run `rustup toolchain install nightly` and `cargo install cargo-fuzz`",
        ));
    }
    let targets = match target {
        Some(target) => vec![target],
        None => fuzzer("list of targets").args(["list"]).output()?.lines().map(str::to_owned).collect(),
    };
    for target in &targets {
        println!("==> fuzz {target} for {seconds} s");
        let limit = format!("-max_total_time={seconds}");
        fuzzer("fuzz target").args(["run", target, "--", &limit]).run()?;
    }
    Ok(())
}

/// Started through the program's own proxy, since the cargo that runs this one is of another toolchain.
fn fuzzer(name: &'static str) -> Step {
    Step::new(name, "rustup").args(["run", "nightly", "cargo", "fuzz"])
}

fn parse(arguments: &[String]) -> Result<(u64, Option<String>), Failure> {
    let (mut seconds, mut target) = (SECONDS_DEFAULT, None);
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--seconds" => {
                let number = rest.next().and_then(|number| number.parse().ok());
                seconds = number.ok_or_else(|| Failure::usage("--seconds needs a number"))?;
            }
            flag if flag.starts_with('-') => return Err(Failure::usage(format!("fuzz knows no {flag}"))),
            name if target.is_none() => target = Some(name.to_owned()),
            extra => return Err(Failure::usage(format!("one target at a time; {extra} is a second one"))),
        }
    }
    Ok((seconds, target))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(arguments: &[&str]) -> Vec<String> {
        arguments.iter().map(|&argument| argument.to_owned()).collect()
    }

    #[test]
    fn seconds_and_target_come_in_any_order() {
        let expected = (5, Some("wal".to_owned()));
        assert_eq!(parse(&strings(&["--seconds", "5", "wal"])).unwrap(), expected);
        assert_eq!(parse(&strings(&["wal", "--seconds", "5"])).unwrap(), expected);
        assert_eq!(parse(&[]).unwrap(), (SECONDS_DEFAULT, None));
    }

    #[test]
    fn what_it_does_not_know_is_refused() {
        for arguments in [&["--seconds"][..], &["--seconds", "x"], &["--jobs", "2"], &["a", "b"]] {
            assert!(parse(&strings(arguments)).is_err(), "{arguments:?}");
        }
    }
}
