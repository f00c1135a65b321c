//! Keys and values beyond the limits, in every way that there is to write one: the store goes on.

use engine::{Db, Entry, ErrorKind, KeyspaceOptions, WriteBatch};

use crate::child::{Scratch, skip};
use crate::content::{Acknowledged, options};

const KEY_LEN_MAX: usize = 65_535;

/// Every way to write a key; each must refuse it.
fn refused_everywhere(db: &Db, key: &[u8], what: &str) {
    let other = db.keyspace("other", KeyspaceOptions::new()).unwrap();
    let (mut batch, mut txn) = (WriteBatch::new(), db.begin());
    let refusals = [
        db.insert(key, "v"),
        db.remove(key),
        db.insert_entry(Entry::new(key, "v")),
        other.insert(key, "v"),
        other.remove(key),
        batch.insert(key, "v"),
        batch.remove(key),
        batch.keyspace(&other).insert(key, "v"),
        txn.insert(key, "v"),
        txn.remove(key),
    ];
    for error in refusals.map(Result::unwrap_err) {
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains(what), "{error}");
    }
    assert_eq!(db.get(key).unwrap(), None, "such a key is simply not there");
    txn.insert("after", "refusals").unwrap();
    txn.commit().unwrap();
    db.remove("after").unwrap();
}

#[test]
fn keys_beyond_the_limits_are_refused_and_the_store_goes_on() {
    let scratch = Scratch::new("arguments::keys_beyond_the_limits_are_refused_and_the_store_goes_on");
    let mut acknowledged = Acknowledged::new();
    let db = options().open(&scratch.0).unwrap();
    acknowledged.write_many(&db, 10, 100);
    refused_everywhere(&db, b"", "empty key");
    refused_everywhere(&db, &[1; KEY_LEN_MAX + 1], "65536 bytes is over the limit of 65535");
    acknowledged.write_many(&db, 10, 100);
    db.insert([1; KEY_LEN_MAX], [2; 3_000]).unwrap();
    db.flush().unwrap();
    db.close().unwrap();
    let db = options().open(&scratch.0).unwrap();
    assert_eq!(db.get([1; KEY_LEN_MAX]).unwrap().unwrap().len(), 3_000);
    db.remove([1; KEY_LEN_MAX]).unwrap();
    acknowledged.check(&db).unwrap();
}

#[test]
fn a_value_beyond_the_limit_is_refused_and_the_store_goes_on() {
    let scratch = Scratch::new("arguments::a_value_beyond_the_limit_is_refused_and_the_store_goes_on");
    let over = (1_usize << 32) - (128 << 10) + 1;
    // Zeros that nobody reads take no memory, only addresses.
    let mut value: Vec<u8> = Vec::new();
    if let Err(error) = value.try_reserve_exact(over) {
        return skip("a value over the limit", &error.to_string());
    }
    drop(value);
    let value = vec![0; over];
    let mut acknowledged = Acknowledged::new();
    let db = options().open(&scratch.0).unwrap();
    acknowledged.write_many(&db, 10, 100);
    let mut batch = WriteBatch::new();
    for refused in [db.insert("k", &value), batch.insert("k", &value)] {
        let error = refused.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains("over the limit of 4294836224"), "{error}");
    }
    db.write(batch).unwrap();
    acknowledged.write_many(&db, 10, 3_000);
    db.close().unwrap();
    acknowledged.check(&options().open(&scratch.0).unwrap()).unwrap();
}
