//! Tests of what a killed store must hold.

use engine::Options;

use super::*;

const SEED: u64 = 11;

fn store() -> (Db, [Keyspace; 2]) {
    let db = Options::new().open_in_memory().unwrap();
    let keyspaces = ["default", PAIR_KEYSPACE].map(|name| db.keyspace(name, KeyspaceOptions::new()).unwrap());
    (db, keyspaces)
}

/// A store with some transactions of each writer, all acknowledged, and what must be in it.
fn filled() -> (Db, [Keyspace; 2], Expected) {
    let (db, keyspaces) = store();
    let mut expected = Expected::new(SEED);
    for number in 1..60 {
        for writer in 0..WRITERS {
            let transaction = Transaction { seed: SEED, writer, number };
            let version = db.write(transaction.batch(&keyspaces).unwrap()).unwrap().version;
            expected.acknowledged(writer, number, version).unwrap();
        }
    }
    (db, keyspaces, expected)
}

#[test]
fn what_was_written_is_what_must_be_there() {
    let (db, _, mut expected) = filled();
    expected.check_state(&db).unwrap();
}

#[test]
fn one_on_its_way_may_be_there_and_two_may_not() {
    let (db, keyspaces, expected) = filled();
    for number in 60..62 {
        db.write(Transaction { seed: SEED, writer: 1, number }.batch(&keyspaces).unwrap()).unwrap();
        let found = expected.clone().check_state(&db);
        assert_eq!(found.is_ok(), number == 60, "{found:?}");
    }
}

#[test]
fn a_lost_transaction_is_found() {
    let (db, _, mut expected) = filled();
    expected.acknowledged(2, 60, 1_000_000).unwrap();
    assert!(matches!(expected.check_state(&db), Err(Flaw::Lost(_))));
}

#[test]
fn a_recovery_report_that_ends_too_early_is_found() {
    let (db, _, mut expected) = filled();
    // The store was never reopened, so its report knows of nothing.
    assert!(matches!(expected.check(&db), Err(Flaw::Lost(_))));
}

#[test]
fn a_lost_revived_or_changed_key_is_found() {
    type Change = fn(&[Keyspace; 2]);
    let changes: [(Change, bool); 5] = [
        (|keyspaces| keyspaces[1].remove("3/own/0000000058").unwrap(), true),
        (|keyspaces| keyspaces[0].insert("3/own/0000000002", "back").unwrap(), false),
        (|keyspaces| keyspaces[0].insert("0/own/0000000051", "other").unwrap(), false),
        (|keyspaces| keyspaces[1].insert("from nowhere", "").unwrap(), false),
        (|keyspaces| keyspaces[1].insert(marker_key(0), 58u64.to_be_bytes()).unwrap(), false),
    ];
    for (change, is_lost) in changes {
        let (db, keyspaces, mut expected) = filled();
        change(&keyspaces);
        let flaw = expected.check_state(&db).unwrap_err();
        assert_eq!(matches!(flaw, Flaw::Lost(_)), is_lost, "{flaw}");
    }
}

#[test]
fn an_old_or_missing_value_of_a_hot_key_is_found() {
    let (db, keyspaces, expected) = filled();
    let (keyspace, key) = expected.hot.keys().next().cloned().unwrap();
    let mut newer = expected.clone();
    *newer.hot.get_mut(&(keyspace, key.clone())).unwrap() += 1;
    assert!(matches!(newer.check_state(&db), Err(Flaw::Lost(_))));
    keyspaces[keyspace].remove(&key).unwrap();
    assert!(matches!(expected.clone().check_state(&db), Err(Flaw::Lost(_))));
    keyspaces[keyspace].insert(&key, [0; 40]).unwrap();
    assert!(matches!(expected.clone().check_state(&db), Err(Flaw::Wrong(_))));
}

#[test]
fn a_version_that_is_handed_out_twice_is_found() {
    let mut expected = Expected::new(SEED);
    expected.acknowledged(0, 1, 7).unwrap();
    expected.begin_run();
    assert!(matches!(expected.acknowledged(0, 2, 7), Err(Flaw::Wrong(_))));
    expected.acknowledged(0, 2, 8).unwrap();
}
