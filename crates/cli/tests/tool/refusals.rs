//! Hostile keys: an export writes below its folder and nowhere else.

use std::fs;
use std::os::unix::fs::symlink;

use crate::folder::Folder;
use crate::tree::paths_below;

const HOSTILE: &str = concat!(
    "{\"key\":\"../up\",\"value\":\"x\"}\n",
    "{\"key\":\"/absolute\",\"value\":\"x\"}\n",
    "{\"key\":\"a/../../up\",\"value\":\"x\"}\n",
    "{\"key\":\"a/./b\",\"value\":\"x\"}\n",
    "{\"key\":\"a//b\",\"value\":\"x\"}\n",
    "{\"key\":\"folder/\",\"value\":\"x\"}\n",
    "{\"key\":\"nul\\u0000\",\"value\":\"x\"}\n",
    "{\"key\":\"..\",\"value\":\"x\"}\n",
    // A link to a folder outside, and a key that passes through it.
    "{\"key\":\"link\",\"value\":\"../outside\",\"user_meta\":108}\n",
    "{\"key\":\"link/planted\",\"value\":\"x\"}\n",
    "{\"key\":\"link/deep/planted\",\"value\":\"x\"}\n",
    // A file, and keys below it.
    "{\"key\":\"file\",\"value\":\"x\"}\n",
    "{\"key\":\"file/below\",\"value\":\"x\"}\n",
    // A link that points nowhere at all.
    "{\"key\":\"empty link\",\"value\":\"\",\"user_meta\":108}\n",
    // A value where an empty folder has none.
    "{\"key\":\"full folder\",\"value\":\"kept\",\"user_meta\":100}\n",
    // In the way of a link that stands in the folder already.
    "{\"key\":\"there/planted\",\"value\":\"x\"}\n",
    "{\"key\":\"replaced\",\"value\":\"fine\"}\n",
    "{\"key\":\"good/file\",\"value\":\"fine\"}\n",
    "{\"key\":\"z\",\"value\":\"fine\"}\n",
);

/// Keys of the list above that a file system can hold, in order.
const FIT: [&str; 5] = ["file", "good/file", "link", "replaced", "z"];

#[test]
fn hostile_keys_are_refused_by_name_and_the_rest_goes_on() {
    let folder = Folder::new("hostile_keys");
    folder.ratel_with_input(["import", "store", "--jsonl", "-"], HOSTILE.as_bytes()).ends_with(0);
    fs::create_dir(folder.path("outside")).unwrap();
    fs::create_dir(folder.path("out")).unwrap();
    symlink("../outside", folder.path("out/there")).unwrap();
    fs::write(folder.path("victim"), "untouched").unwrap();
    symlink("../victim", folder.path("out/replaced")).unwrap();

    let run = folder.ratel(["export", "store", "--dir", "out"]).ends_with(4).says("14 keys left out");
    let run = run.says("../up: has a name \"..\"").says("/absolute: an absolute path").says("nul\\x00: has a NUL byte");
    let run = run.says("link/planted: \"link\" is a link").says("there/planted: \"there\" is a link");
    run.says("file/below: \"file\" is not a folder")
        .says("folder/: has an empty name")
        .says("empty link: the value of a link")
        .says("full folder: marked as an empty folder, but has a value");

    let mut expected: Vec<&str> = FIT.to_vec();
    expected.push("there");
    expected.sort_unstable();
    let written: Vec<_> = paths_below(&folder.path("out")).into_iter().map(|path| path.into_os_string()).collect();
    assert_eq!(written, expected);
    assert!(paths_below(&folder.path("outside")).is_empty(), "nothing was written through a link");
    assert_eq!(fs::read(folder.path("victim")).unwrap(), b"untouched");
    assert!(!folder.path("up").exists());
    assert_eq!(fs::read(folder.path("out/good/file")).unwrap(), b"fine");
}

#[test]
fn with_escape_every_key_becomes_a_file() {
    let folder = Folder::new("with_escape");
    folder.ratel_with_input(["import", "store", "--jsonl", "-"], HOSTILE.as_bytes()).ends_with(0);
    let odd_links = format!(
        "{{\"key\":\"nul link\",\"value\":\"a\\u0000b\",\"user_meta\":108}}\n{{\"key\":\"long link\",\"value\":\"{}\",\"user_meta\":108}}\n",
        "l".repeat(5_000)
    );
    folder.ratel_with_input(["import", "store", "--jsonl", "-"], odd_links.as_bytes()).ends_with(0);
    let long = "k".repeat(60_000);
    folder.ratel_with_input(["import", "store", "--tsv", "-"], format!("{long}\tv\n").as_bytes()).ends_with(0);
    folder.ratel(["export", "store", "--dir", "out", "--escape"]).ends_with(0);

    let names: Vec<String> = paths_below(&folder.path("out")).iter().map(|path| path.display().to_string()).collect();
    assert_eq!(names.len(), HOSTILE.lines().count() + 2 + 2, "{names:?}");
    for name in ["%2e.%2fup", "%2fabsolute", "nul%00", "link%2fplanted", "file%2fbelow", "folder%2f"] {
        assert_eq!(fs::read(folder.path("out").join(name)).unwrap(), b"x", "{name}");
    }
    for (name, value) in [
        ("full%20folder", &b"kept"[..]),
        ("empty%20link", b""),
        ("nul%20link", b"a\0b"),
        ("long%20link", &[b'l'; 5_000]),
    ] {
        assert!(fs::symlink_metadata(folder.path("out").join(name)).unwrap().is_file(), "{name}");
        assert_eq!(fs::read(folder.path("out").join(name)).unwrap(), value, "{name}");
    }
    let list = fs::read_to_string(folder.path("out/~keys.tsv")).unwrap();
    assert_eq!(list, format!("{}~1\t{long}\n", "k".repeat(200)));
}
