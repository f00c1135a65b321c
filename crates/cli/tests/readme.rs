//! The example of the repository's README: it runs, and it is the one that stands there.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "so does the example")]

const README: &str = include_str!("../../../README.md");
const THIS: &str = include_str!("readme.rs");

#[test]
fn the_example_runs() {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("readme-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::env::set_current_dir(&folder).unwrap();
    example().unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
}

#[rustfmt::skip]
fn example() -> Result<(), engine::Error> {
use engine::{Db, Entry, Read};
use std::time::Duration;

let db = Db::open("my-store")?;
db.insert("hello", "world")?;                       // one atomic commit; it survives the death of the process
assert_eq!(db.get("hello")?.as_deref(), Some(&b"world"[..]));

db.update(|txn| {                                   // serialisable, phantoms included
    let visits = txn.get("visits")?.map_or(0, |v| u64::from_be_bytes(v[..].try_into().unwrap()));
    txn.insert("visits", (visits + 1).to_be_bytes())?;
    txn.insert_entry(Entry::new("session/42", "open").ttl(Duration::from_secs(3600)).user_meta(7))
})?;

for item in db.snapshot().prefix("session/") {      // forward or `.rev()`; values are read only when asked for
    let item = item?;
    println!("{:?} {} B", item.key_slice(), item.value_len());
}
    assert_eq!(db.get("visits")?.as_deref(), Some(&1u64.to_be_bytes()[..]));
    db.close()
}

#[test]
fn the_readme_shows_this_example() {
    let block = README.split("```rust").nth(1).unwrap().split("```").next().unwrap();
    let lines: Vec<&str> = block.lines().skip(1).collect();
    assert!(lines.len() > 10, "the example was found");
    assert!(THIS.contains(&lines.join("\n")), "the example in README.md is not the one that is run here");
}
