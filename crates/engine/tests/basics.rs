//! What one thread sees of a store in memory, without flush or reopen.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a failed test panics")]

use std::sync::Arc;
use std::time::Duration;

use base::clock::ManualClock;
use engine::{
    CompactOptions, Db, Entry, ErrorKind, Isolation, KeyspaceOptions, Options, Read, ScanOptions, TxnOptions,
    WriteBatch,
};

fn db() -> Db {
    Options::new().open_in_memory().unwrap()
}

fn keys(items: impl Iterator<Item = engine::Result<engine::Item>>) -> Vec<String> {
    items.map(|item| String::from_utf8(item.unwrap().key().to_vec()).unwrap()).collect()
}

#[test]
fn what_was_written_is_read_and_what_was_removed_is_not() {
    let db = db();
    assert_eq!(db.get("a").unwrap(), None);
    db.insert("a", "1").unwrap();
    db.insert("b", "").unwrap();
    assert_eq!(db.get("a").unwrap().unwrap(), "1");
    assert_eq!(db.get("b").unwrap().unwrap(), "", "an empty value is a value");
    db.insert("a", "2").unwrap();
    assert_eq!(db.get("a").unwrap().unwrap(), "2");
    db.remove("a").unwrap();
    assert_eq!(db.get("a").unwrap(), None);
    db.remove("never").unwrap();
}

#[test]
fn versions_rise_by_one_a_commit() {
    let db = db();
    let first = db.write(batch(&[("a", "1")])).unwrap().version;
    let second = db.write(batch(&[("b", "1"), ("c", "1")])).unwrap().version;
    assert_eq!((first, second), (1, 2));
    assert_eq!(db.snapshot().version(), 2);
    let empty = db.write(WriteBatch::new()).unwrap();
    assert_eq!(empty.version, 2, "an empty batch takes no version");
}

fn batch(pairs: &[(&str, &str)]) -> WriteBatch {
    let mut batch = WriteBatch::new();
    for (key, value) in pairs {
        batch.insert(key, value).unwrap();
    }
    batch
}

#[test]
fn a_snapshot_stays_as_it_was() {
    let db = db();
    db.write(batch(&[("a", "1"), ("b", "1")])).unwrap();
    let snapshot = db.snapshot();
    db.insert("a", "2").unwrap();
    db.remove("b").unwrap();
    db.insert("c", "2").unwrap();
    assert_eq!(snapshot.get("a").unwrap().unwrap(), "1");
    assert_eq!(keys(snapshot.iter()), ["a", "b"]);
    assert_eq!(keys(snapshot.iter().rev()), ["b", "a"]);
    assert_eq!(keys(db.iter()), ["a", "c"]);
}

#[test]
fn scans_keep_to_their_bounds_in_both_directions_and_from_both_ends() {
    let db = db();
    for key in ["a", "aa", "ab", "b", "ba", "c"] {
        db.insert(key, key).unwrap();
    }
    assert_eq!(keys(db.prefix("a")), ["a", "aa", "ab"]);
    assert_eq!(keys(db.prefix("a").rev()), ["ab", "aa", "a"]);
    assert_eq!(keys(db.range("aa".."ba")), ["aa", "ab", "b"]);
    assert_eq!(keys(db.range("aa"..="ba").rev()), ["ba", "b", "ab", "aa"]);
    assert_eq!(keys(db.scan(ScanOptions::new().reverse(true).limit(2))), ["c", "ba"]);
    let mut both = db.iter();
    let mut order = Vec::new();
    while let Some(item) = both.next() {
        order.push(item.unwrap().key_slice());
        if let Some(item) = both.next_back() {
            order.push(item.unwrap().key_slice());
        }
    }
    assert_eq!(order, ["a", "c", "aa", "ba", "ab", "b"]);
    assert!(both.next().is_none() && both.next_back().is_none());
    assert_eq!(db.first().unwrap().unwrap().key(), b"a");
    assert_eq!(db.last().unwrap().unwrap().key(), b"c");
}

#[test]
fn every_version_is_shown_when_asked_for() {
    let db = db();
    db.insert("k", "1").unwrap();
    db.remove("k").unwrap();
    db.insert("k", "3").unwrap();
    db.insert("l", "4").unwrap();
    let all: Vec<_> = db.versions("k").map(|item| item.unwrap()).collect();
    let seen: Vec<_> = all.iter().map(|item| (item.version(), item.is_deleted_or_expired())).collect();
    assert_eq!(seen, [(3, false), (2, true), (1, false)]);
    let reversed: Vec<_> = db.versions("k").rev().map(|item| item.unwrap().version()).collect();
    assert_eq!(reversed, [1, 2, 3]);
    let since = db.scan(ScanOptions::new().since(3)).map(|item| item.unwrap().version()).collect::<Vec<_>>();
    assert_eq!(since, [3, 4]);
}

#[test]
fn a_cursor_seeks_and_turns() {
    let db = db();
    for key in ["a", "abc", "acd", "b"] {
        db.insert(key, "").unwrap();
    }
    let mut cursor = db.cursor(ScanOptions::new()).unwrap();
    cursor.seek("ab").unwrap();
    assert_eq!(cursor.key(), Some(&b"abc"[..]));
    cursor.next().unwrap();
    cursor.prev().unwrap();
    cursor.prev().unwrap();
    assert_eq!(cursor.key(), Some(&b"a"[..]));
    cursor.next().unwrap();
    assert_eq!(cursor.key(), Some(&b"abc"[..]));
    cursor.seek("zzz").unwrap();
    assert!(!cursor.valid());
    let mut reverse = db.cursor(ScanOptions::new().reverse(true)).unwrap();
    reverse.seek("ac").unwrap();
    assert_eq!(reverse.key(), Some(&b"abc"[..]));
    reverse.seek("ad").unwrap();
    assert_eq!(reverse.key(), Some(&b"acd"[..]));
    reverse.rewind().unwrap();
    assert_eq!(reverse.key(), Some(&b"b"[..]));
}

#[test]
fn a_transaction_sees_its_own_writes_everywhere() {
    let db = db();
    db.write(batch(&[("a", "a"), ("b", "b"), ("c", "c")])).unwrap();
    let mut txn = db.begin();
    txn.insert("b", "own").unwrap();
    txn.remove("c").unwrap();
    txn.insert("d", "own").unwrap();
    assert_eq!(txn.get("b").unwrap().unwrap(), "own");
    assert_eq!(txn.get("c").unwrap(), None);
    assert_eq!(keys(txn.iter()), ["a", "b", "d"]);
    assert_eq!(keys(txn.iter().rev()), ["d", "b", "a"]);
    assert_eq!(keys(db.iter()), ["a", "b", "c"]);
    let mut cursor = txn.cursor(ScanOptions::new()).unwrap();
    cursor.seek("c").unwrap();
    assert_eq!(cursor.key(), Some(&b"d"[..]));
    cursor.prev().unwrap();
    assert_eq!(cursor.key(), Some(&b"b"[..]));
    cursor.next().unwrap();
    assert_eq!(cursor.key(), Some(&b"d"[..]));
    drop(cursor);
    txn.commit().unwrap();
    assert_eq!(keys(db.iter()), ["a", "b", "d"]);
}

#[test]
fn write_skew_and_phantoms_conflict_by_default() {
    let db = db();
    db.write(batch(&[("x", "1"), ("y", "1")])).unwrap();
    let (mut first, mut second) = (db.begin(), db.begin());
    for txn in [&first, &second] {
        assert!(txn.get("x").unwrap().is_some() && txn.get("y").unwrap().is_some());
    }
    first.insert("x", "0").unwrap();
    second.insert("y", "0").unwrap();
    first.commit().unwrap();
    assert!(second.commit().unwrap_err().is_conflict());

    let mut reader = db.begin();
    assert_eq!(reader.prefix("p/").count(), 0);
    db.insert("p/new", "").unwrap();
    reader.insert("other", "").unwrap();
    let error = reader.commit().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().contains("p/new"), "{error}");
}

#[test]
fn each_isolation_conflicts_where_it_says() {
    let outcome = |isolation, range: bool, written: bool| {
        let db = db();
        db.insert("k/1", "").unwrap();
        let mut txn = db.begin_with(TxnOptions::new().isolation(isolation));
        if range {
            assert_eq!(txn.prefix("k/").count(), 1);
        } else {
            txn.get("k/1").unwrap();
        }
        db.insert(if range { "k/2" } else { "k/1" }, "theirs").unwrap();
        txn.insert(if written { "k/1" } else { "other" }, "mine").unwrap();
        txn.commit().is_err()
    };
    use Isolation::{KeySerializable, Serializable, Snapshot, Unchecked};
    let phantom = [Serializable, KeySerializable, Snapshot, Unchecked].map(|isolation| outcome(isolation, true, false));
    assert_eq!(phantom, [true, false, false, false]);
    let skew = [Serializable, KeySerializable, Snapshot, Unchecked].map(|isolation| outcome(isolation, false, false));
    assert_eq!(skew, [true, true, false, false]);
    let lost = [Serializable, KeySerializable, Snapshot, Unchecked].map(|isolation| outcome(isolation, false, true));
    assert_eq!(lost, [true, true, true, false]);
}

#[test]
fn blind_writes_never_conflict_and_get_for_update_always_does() {
    let db = db();
    let mut blind = db.begin();
    blind.insert("k", "mine").unwrap();
    db.insert("k", "theirs").unwrap();
    blind.commit().unwrap();
    assert_eq!(db.get("k").unwrap().unwrap(), "mine");

    let mut txn = db.begin_with(TxnOptions::new().isolation(Isolation::Snapshot));
    txn.get_for_update("k").unwrap();
    txn.insert("other", "").unwrap();
    db.insert("k", "theirs").unwrap();
    assert!(txn.commit().unwrap_err().is_conflict());
}

#[test]
fn reads_for_update_and_untracked_ones_are_there_for_every_keyspace() {
    let db = db();
    let other = db.keyspace("other", KeyspaceOptions::new()).unwrap();
    let conflicts = |read: fn(&mut engine::TxnKeyspace<'_>), isolation| {
        let mut txn = db.begin_with(TxnOptions::new().isolation(isolation));
        read(&mut txn.keyspace(&other));
        other.insert("k", "theirs").unwrap();
        txn.insert("mine", "").unwrap();
        txn.commit().is_err_and(|error| error.is_conflict())
    };
    assert!(conflicts(|txn| drop(txn.get_for_update("k").unwrap()), Isolation::Snapshot));
    assert!(conflicts(|txn| drop(txn.get("k").unwrap()), Isolation::Serializable));
    assert!(!conflicts(|txn| drop(txn.untracked().get("k").unwrap()), Isolation::Serializable));
}

#[test]
fn a_part_of_a_range_that_was_not_walked_does_not_count() {
    let db = db();
    for key in ["a", "b", "c"] {
        db.insert(key, "").unwrap();
    }
    let mut txn = db.begin();
    assert_eq!(txn.iter().next().unwrap().unwrap().key(), b"a");
    db.insert("b", "theirs").unwrap();
    txn.insert("x", "").unwrap();
    txn.commit().unwrap();
}

/// A key goes into the gap between the two ends of an iterator that then met.
#[test]
fn a_walk_from_both_ends_that_met_has_read_what_lay_between() {
    for backward_last in [false, true] {
        let db = db();
        db.insert("a", "").unwrap();
        db.insert("d", "").unwrap();
        let mut txn = db.begin();
        let mut walk = txn.iter();
        assert_eq!(walk.next().unwrap().unwrap().key(), b"a");
        assert_eq!(walk.next_back().unwrap().unwrap().key(), b"d");
        assert!(if backward_last { walk.next_back() } else { walk.next() }.is_none());
        drop(walk);
        db.insert("b", "theirs").unwrap();
        txn.insert("x", "").unwrap();
        assert!(txn.commit().unwrap_err().is_conflict(), "backward last: {backward_last}");
    }
}

#[test]
fn expired_entries_are_gone_and_meta_comes_back() {
    let db = db();
    db.insert_entry(Entry::new("old", "v").expires_at(std::time::UNIX_EPOCH)).unwrap();
    db.insert_entry(Entry::new("new", "v").ttl(std::time::Duration::from_secs(1_000)).user_meta(9)).unwrap();
    assert_eq!(db.get("old").unwrap(), None);
    assert_eq!(keys(db.iter()), ["new"]);
    let item = db.get_item("new").unwrap().unwrap();
    assert_eq!(item.user_meta(), 9);
    assert!(item.expires_at().is_some());
    assert!(db.versions("old").next().unwrap().unwrap().is_deleted_or_expired());
}

/// The clock goes past the expiry, and a compaction drops what is expired to all who come now.
#[test]
fn an_entry_stays_for_a_snapshot_that_began_before_it_expired() {
    let clock = Arc::new(ManualClock::new(1_000));
    let db = Options::new().clock(Arc::<ManualClock>::clone(&clock)).inline_background().open_in_memory().unwrap();
    db.insert_entry(Entry::new("key", "v").ttl(Duration::from_secs(10))).unwrap();
    let snapshot = db.snapshot();
    clock.advance(Duration::from_secs(11));
    for _ in 0..2 {
        db.flush().unwrap();
        db.compact(.., CompactOptions::new()).unwrap();
        assert_eq!(db.get("key").unwrap(), None);
        assert_eq!(snapshot.get("key").unwrap().unwrap(), "v", "two reads of one snapshot differ");
        assert_eq!(keys(snapshot.iter()), ["key"]);
        db.insert("other", "makes the next compaction one").unwrap();
    }
    drop(snapshot);
    db.insert("another", "one").unwrap();
    db.flush().unwrap();
    db.compact(.., CompactOptions::new()).unwrap();
    assert_eq!(db.versions("key").count(), 0, "nobody needs it any more");
}

#[test]
fn large_values_go_to_the_value_log_and_come_back() {
    let db = db();
    let large = vec![7; 100_000];
    db.insert("large", &large).unwrap();
    db.insert("small", "s").unwrap();
    let item = db.get_item("large").unwrap().unwrap();
    assert!(item.is_separated() && item.value_len() == 100_000);
    assert_eq!(item.value().unwrap(), large);
    assert_eq!(db.get("large").unwrap().unwrap(), large);
    assert!(!db.get_item("small").unwrap().unwrap().is_separated());
    let pairs: Vec<_> = db.iter().map(|item| item.unwrap().into_pair().unwrap()).collect();
    assert_eq!(pairs[0].1, large);
}

#[test]
fn keyspaces_are_maps_of_their_own_and_a_batch_over_two_is_one_commit() {
    let db = db();
    let other = db.keyspace("other", KeyspaceOptions::new()).unwrap();
    let mut batch = WriteBatch::new();
    batch.insert("k", "default").unwrap();
    batch.keyspace(&other).insert("k", "other").unwrap();
    let before = db.snapshot();
    let version = db.write(batch).unwrap().version;
    assert_eq!(db.get("k").unwrap().unwrap(), "default");
    assert_eq!(other.get("k").unwrap().unwrap(), "other");
    assert_eq!(other.get_item("k").unwrap().unwrap().version(), version);
    assert_eq!(before.keyspace(&other).get("k").unwrap(), None);
    assert_eq!(db.keyspaces().iter().map(|info| info.name.clone()).collect::<Vec<_>>(), ["default", "other"]);
    let mut txn = db.begin();
    txn.keyspace(&other).insert("t", "x").unwrap();
    assert_eq!(txn.keyspace(&other).get("t").unwrap().unwrap(), "x");
    assert_eq!(txn.get("t").unwrap(), None);
    txn.commit().unwrap();
    assert_eq!(keys(other.iter()), ["k", "t"]);
}

#[test]
fn a_keyspace_of_another_store_is_refused() {
    let (db, other) = (db(), db());
    // The same number in both stores.
    let [own, foreign] = [&db, &other].map(|db| db.keyspace("k", KeyspaceOptions::new()).unwrap());
    foreign.insert("a", "theirs").unwrap();
    let mut batch = WriteBatch::new();
    batch.keyspace(&foreign).insert("a", "").unwrap();
    let mut refused = vec![
        batch.keyspace(&own).insert("a", "").unwrap_err(),
        batch.keyspace(&own).remove("a").unwrap_err(),
        batch.keyspace(&own).insert_entry(Entry::new("a", "")).unwrap_err(),
        db.write(batch).unwrap_err(),
    ];
    let snapshot = db.snapshot().keyspace(&foreign);
    refused.push(snapshot.get("a").unwrap_err());
    refused.push(snapshot.get_item("a").unwrap_err());
    refused.push(snapshot.iter().next().unwrap().unwrap_err());
    refused.push(snapshot.cursor(ScanOptions::new()).unwrap_err());
    let mut txn = db.begin();
    refused.push(txn.keyspace(&foreign).get("a").unwrap_err());
    refused.push(txn.keyspace(&foreign).insert("a", "").unwrap_err());
    refused.push(txn.keyspace(&foreign).remove("a").unwrap_err());
    for error in refused {
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    }
    txn.keyspace(&own).insert("a", "mine").unwrap();
    txn.commit().unwrap();
    assert_eq!((own.get("a").unwrap().unwrap(), foreign.get("a").unwrap().unwrap()), ("mine".into(), "theirs".into()));
}

#[test]
fn bad_arguments_are_refused_and_leave_no_trace() {
    let db = db();
    for key in [vec![], vec![0; 65_536]] {
        assert_eq!(db.insert(&key, "v").unwrap_err().kind(), ErrorKind::InvalidArgument);
        assert_eq!(db.begin().insert(key, "v").unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
    db.insert(vec![0; 65_535], "v").unwrap();
    assert_eq!(db.iter().count(), 1);
    assert_eq!(db.keyspace("", KeyspaceOptions::new()).unwrap_err().kind(), ErrorKind::InvalidArgument);
}

#[test]
fn everything_fails_as_closed_after_close_but_items_live_on() {
    let db = db();
    db.insert("a", "1").unwrap();
    let (clone, snapshot, item) = (db.clone(), db.snapshot(), db.get_item("a").unwrap().unwrap());
    let mut iter = snapshot.iter();
    db.close().unwrap();
    assert!(clone.is_closed());
    assert_eq!(clone.get("a").unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(clone.insert("a", "2").unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(snapshot.get("a").unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(iter.next().unwrap().unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(item.value().unwrap(), "1");
    clone.close().unwrap();
}
