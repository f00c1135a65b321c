//! Trees drawn in a few lines, and what is picked from them.
//!
//! A line is a level: `L0 a-c:10#3` is a table of level 0 with user keys `a` to `c`, 10 KiB, sequence 3. A `!` behind it
//! says that a job has it; `%7` that seven tenths of it are stale, `@50` that half of it expires
//! at 50, and that it points to twice as much.

use std::fmt::Write as _;
use std::path::Path;

use base::rng::Rng;
use base::{EntryMeta, EntryRef, InternalKeyRef, KeyspaceId, StoreId};
use expect_test::{Expect, expect};
use sstable::{BlockCache, ReadOptions, Table, TableBuilder, TableExpiry, TableOptions};
use vfs::{MemFs, Vfs};

use super::*;
use crate::claims::{Claim, Claims};
use crate::meta::TableMeta;

const KIB: u64 = 1 << 10;

/// The clock of the oldest reader.
const NOW: u64 = 100;

/// Level targets from 100 KiB on, a fan-out of 10, tables of 20 KiB.
fn options() -> PickerOptions {
    PickerOptions {
        level0_runs_max: 4,
        level0_merge_runs_min: 6,
        level_base_bytes: 100 * KIB,
        fanout: 10,
        target_file_bytes: 20 * KIB,
        grandparent_bytes_max: 200 * KIB,
        compaction_bytes_max: 500 * KIB,
    }
}

/// Some table, of the one entry `key` at version 1, for handles that need one.
pub(crate) fn any_table() -> Arc<Table> {
    let vfs: Arc<dyn Vfs> = Arc::new(MemFs::new(1));
    let (dir, store) = (Path::new("/"), StoreId::default());
    let mut builder = TableBuilder::create(&vfs, dir, TableId(1), TableOptions::default(), None).unwrap();
    let mut entry = Vec::new();
    EntryRef::new(EntryMeta::put(), b"").encode_into(&mut entry);
    builder.add(InternalKeyRef::new(b"key", 1), &entry).unwrap();
    builder.finish().unwrap();
    Table::open(&vfs, dir, TableId(1), ReadOptions::new(Arc::new(BlockCache::new(1 << 16)), store)).unwrap()
}

pub(crate) struct Drawing {
    pub(crate) version: TreeVersion,
    claims: Claims,
    _claimed: Option<Claim>,
}

pub(crate) fn draw(text: &str) -> Drawing {
    let table = any_table();
    let mut levels: [Vec<Arc<TableHandle>>; LEVELS] = Default::default();
    let mut busy = Vec::new();
    let mut next_id = 1;
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let mut words = line.split_whitespace();
        let level: usize = words.next().unwrap().strip_prefix('L').unwrap().parse().unwrap();
        for word in words {
            let (word, is_busy) = word.strip_suffix('!').map_or((word, false), |word| (word, true));
            let (word, half_expires_at) = word.split_once('@').unwrap_or((word, "0"));
            let half_expires_at = half_expires_at.parse().unwrap();
            let (word, stale) = word.split_once('%').unwrap_or((word, "0"));
            let (word, sequence) = word.split_once('#').unwrap_or((word, "0"));
            let (keys, kib) = word.split_once(':').unwrap();
            let (first, last) = keys.split_once('-').unwrap();
            let file_size = kib.parse::<u64>().unwrap() * KIB;
            let stale = stale.parse::<u64>().unwrap();
            let meta = TableMeta {
                id: TableId(next_id),
                file_size,
                smallest: InternalKeyRef::new(first.as_bytes(), 9).to_owned(),
                largest: InternalKeyRef::new(last.as_bytes(), 1).to_owned(),
                min_version: 1,
                max_version: 9,
                entries: 10,
                tombstones: u64::from(stale > 0),
                user_key_bytes: file_size,
                value_bytes: 0,
                stale_bytes: file_size * stale / 10,
                segments: Vec::new(),
                pointed_bytes: 2 * file_size * u64::from(half_expires_at > 0),
                expiry: TableExpiry {
                    first: half_expires_at,
                    eighths: vec![half_expires_at; 4 * usize::from(half_expires_at > 0)],
                },
                sequence: sequence.parse().unwrap(),
            };
            next_id += 1;
            let handle = TableHandle::imagined(meta, &table);
            if is_busy {
                busy.push(Arc::clone(&handle));
            }
            levels[level].push(handle);
        }
    }
    let claims = Claims::default();
    // A job that writes to level 0, so that it forbids its tables and no range.
    let job =
        Pick { kind: PickKind::MergeLevel0, input_level: 0, inputs: busy, output_level: 0, output_inputs: vec![] };
    let claimed = claims.claim(KeyspaceId(0), |_| Some((job, ()))).map(|(_, claim, ())| claim);
    Drawing { version: TreeVersion::build(KeyspaceId(0), levels).unwrap(), claims, _claimed: claimed }
}

fn name(table: &Arc<TableHandle>) -> String {
    let meta = table.meta();
    format!("{}-{}", meta.smallest.user_key.escape_ascii(), meta.largest.user_key.escape_ascii())
}

fn names<'a>(tables: impl IntoIterator<Item = &'a Arc<TableHandle>>) -> String {
    tables.into_iter().map(name).collect::<Vec<_>>().join(" ")
}

fn tell(pick: Option<&Pick>) -> String {
    match pick {
        None => "nothing".to_owned(),
        Some(pick) => format!(
            "{:?} L{} [{}] -> L{} [{}]",
            pick.kind,
            pick.input_level,
            names(&pick.inputs),
            pick.output_level,
            names(&pick.output_inputs)
        ),
    }
}

/// What a compactor would do of a version where no reader is older than version 9 and [`NOW`].
fn pick(picker: &Picker, version: &TreeVersion, in_flight: &InFlight) -> Option<Pick> {
    picker.pick(version, in_flight, 9).or_else(|| picker.pick_expired(version, in_flight, 9, NOW, &BTreeSet::new()))
}

/// The scores of levels that have one, and the pick.
fn picks(text: &str) -> String {
    let drawing = draw(text);
    let picker = Picker::new(options());
    drawing.claims.look(|in_flight| {
        let mut told = String::new();
        for (level, score) in picker.scores(&drawing.version, in_flight).into_iter().enumerate() {
            if score > 0.0 {
                write!(told, "L{level} {score:.2}, ").unwrap();
            }
        }
        writeln!(told, "pending {} KiB", picker.pending_bytes(&drawing.version) / KIB).unwrap();
        told + &tell(pick(&picker, &drawing.version, in_flight).as_ref())
    })
}

#[expect(clippy::needless_pass_by_value, reason = "the macro gives a value")]
fn check(text: &str, expected: Expect) {
    expected.assert_eq(&picks(text));
}

#[test]
fn nothing_is_due_in_an_empty_or_a_small_tree() {
    check(
        "",
        expect![[r#"
        pending 0 KiB
        nothing"#]],
    );
    check(
        "L0 a-z:10#3 a-z:10#2 a-z:10#1\n L6 a-m:20 n-z:20",
        expect![[r#"
        L0 0.75, pending 0 KiB
        nothing"#]],
    );
}

#[test]
fn enough_runs_of_level_0_go_to_the_base() {
    check(
        "L0 a-f:10#4 a-k:10#3 c-m:10#2 a-z:10#1\n L6 a-m:20 n-z:20",
        expect![[r#"
        L0 10.00, pending 40 KiB
        Merge L0 [a-f a-k c-m a-z] -> L6 [a-m n-z]"#]],
    );
    // Two tables of one sequence are one run.
    check(
        "L0 a-f:10#3 g-k:10#3 c-m:10#2 a-z:10#1\n L6 a-m:20",
        expect![[r#"
        L0 0.75, pending 0 KiB
        nothing"#]],
    );
}

#[test]
fn only_what_overlaps_at_the_base_is_taken() {
    check(
        "L0 f-h:10#4 f-h:10#3 g-i:10#2 f-g:10#1\n L6 a-b:20 c-f:20 g-k:20 l-z:20",
        expect![[r#"
        L0 10.00, pending 40 KiB
        Merge L0 [f-h f-h g-i f-g] -> L6 [c-f g-k]"#]],
    );
}

#[test]
fn runs_of_level_0_that_overlap_nothing_move() {
    check(
        "L0 m-n:10#4 k-l:10#3 i-j:10#2 g-h:10#1\n L6 a-f:20 o-z:20",
        expect![[r#"
        L0 10.00, pending 40 KiB
        Move L0 [m-n k-l i-j g-h] -> L6 []"#]],
    );
    // The third oldest overlaps the oldest: it waits.
    check(
        "L0 m-n:10#4 g-l:10#3 i-j:10#2 g-h:10#1\n L6 a-f:20 o-z:20",
        expect![[r#"
        L0 10.00, pending 40 KiB
        Move L0 [i-j g-h] -> L6 []"#]],
    );
}

#[test]
fn the_oldest_runs_go_first_and_no_more_than_a_job_may_take() {
    check(
        "L0 a-z:200#5 a-z:200#4 a-z:200#3 a-z:200#2 a-z:200#1\n L6 a-z:200",
        expect![[r#"
        L0 100.00, pending 1900 KiB
        Move L0 [a-z] -> L5 []"#]],
    );
}

#[test]
fn level_0_waits_for_a_job_that_has_its_oldest_run() {
    check(
        "L0 a-z:10#5 a-z:10#4 a-z:10#3 a-z:10#2 a-z:10#1!\n L6 a-z:20!",
        expect![[r#"
        L0 10.00, pending 50 KiB
        nothing"#]],
    );
}

#[test]
fn the_oldest_runs_go_down_while_newer_ones_are_merged() {
    check(
        "L0 a-z:10#6! a-z:10#5! a-z:10#4 a-z:10#3 a-z:10#2 a-z:10#1\n L6 a-z:20",
        expect![[r#"
        L0 10.00, pending 60 KiB
        Merge L0 [a-z a-z a-z a-z] -> L6 [a-z]"#]],
    );
}

#[test]
fn with_the_way_down_busy_and_many_runs_the_idle_ones_are_merged() {
    check(
        "L0 a-z:9#7 b-c:9#6 a-z:9#5 a-z:9#4 a-z:9#3 a-z:9#2! a-z:9#1!\n L6 a-z:20!",
        expect![[r#"
        L0 12.50, pending 63 KiB
        MergeLevel0 L0 [a-z b-c a-z a-z a-z] -> L0 []"#]],
    );
    // Not enough idle ones in a row.
    check(
        "L0 a-z:9#7 b-c:9#6 a-z:9#5 a-z:9#4! a-z:9#3 a-z:9#2 a-z:9#1!\n L6 a-z:20!",
        expect![[r#"
        L0 12.50, pending 63 KiB
        nothing"#]],
    );
}

#[test]
fn a_level_over_its_target_gives_what_overlaps_least() {
    check(
        "L5 a-c:60 d-f:60 g-i:60
         L6 a-b:100 c-d:200 e-f:200 g-g:400 h-h:100 k-z:100",
        expect![[r#"
            L5 16.36, pending 70 KiB
            Merge L5 [a-c] -> L6 [a-b c-d]"#]],
    );
    // The best one is taken: the next best.
    check(
        "L5 a-c:60 d-f:60 g-i:60
         L6 a-b:100! c-d:200 e-f:200 g-g:400 h-h:100 k-z:100",
        expect![[r#"
            L5 16.36, pending 70 KiB
            Merge L5 [d-f] -> L6 [c-d e-f]"#]],
    );
}

#[test]
fn a_table_that_overlaps_nothing_moves_down_unless_that_costs_later() {
    check(
        "L4 a-c:60 d-f:60\n L5 a-b:90\n L6 a-z:2000",
        expect![[r#"
        L4 12.00, L5 0.45, pending 20 KiB
        Merge L4 [d-f] -> L5 []"#]],
    );
    check(
        "L4 a-c:60 d-f:60\n L5 a-b:90\n L6 a-c:2000 g-z:100",
        expect![[r#"
        L4 12.00, L5 0.43, pending 20 KiB
        Move L4 [d-f] -> L5 []"#]],
    );
}

#[test]
fn inputs_are_widened_where_that_costs_nothing() {
    check(
        "L5 a-b:50 c-d:50 e-f:50 x-z:50
         L6 a-f:300 x-z:900",
        expect![[r#"
            L5 16.67, pending 80 KiB
            Merge L5 [a-b c-d e-f] -> L6 [a-f]"#]],
    );
}

#[test]
fn the_level_that_is_most_over_its_target_comes_first() {
    check(
        "L0 a-z:30#1
         L4 a-c:150
         L5 a-c:3000 d-z:3000
         L6 a-z:20000",
        expect![[r#"
            L0 0.30, L4 0.75, L5 29.56, pending 4000 KiB
            Merge L5 [a-c] -> L6 [a-z]"#]],
    );
    check(
        "L0 a-z:30#9 a-z:30#8 a-z:30#7 a-z:30#6 a-z:30#5 a-z:30#4 a-z:30#3 a-z:30#1
         L4 a-c:150
         L5 a-c:3000 d-z:3000
         L6 a-z:20000",
        expect![[r#"
            L0 24.00, L4 0.75, L5 26.79, pending 4560 KiB
            Merge L5 [a-c] -> L6 [a-z]"#]],
    );
}

#[test]
fn a_table_of_the_last_level_that_is_mostly_stale_is_written_anew() {
    check(
        "L6 a-c:10%4 d-f:10%6 g-z:10",
        expect![[r#"
        pending 0 KiB
        Rewrite L6 [d-f] -> L6 []"#]],
    );
    check(
        "L5 a-c:10%9\n L6 g-z:10",
        expect![[r#"
        L5 0.10, pending 0 KiB
        nothing"#]],
    );
}

#[test]
fn a_range_by_hand_takes_what_it_must_and_nothing_else() {
    let drawing = draw(
        "L0 a-c:10#4 x-z:10#3 b-m:10#2 y-z:10#1
         L5 a-c:20 d-f:20%1 n-z:20
         L6 a-b:20 c-e:20 m-z:20%3",
    );
    let picker = Picker::new(options());
    let mut told = String::new();
    for (level, first, last, before) in [
        (0, "d", "e", 99),
        (0, "a", "a", 99),
        (0, "n", "o", 99),
        (5, "d", "e", 99),
        (6, "a", "z", 99),
        (5, "a", "z", 5),
    ] {
        let range = KeyRange::closed(first.as_bytes(), last.as_bytes());
        let pick = drawing
            .claims
            .look(|in_flight| picker.pick_range(&drawing.version, in_flight, level, range, TableId(before), NOW));
        writeln!(told, "L{level} {first}..{last} below {before}: {}", tell(pick.as_ref())).unwrap();
    }
    expect![[r#"
        L0 d..e below 99: Merge L0 [b-m y-z] -> L5 [a-c d-f n-z]
        L0 a..a below 99: Merge L0 [a-c x-z b-m y-z] -> L5 [a-c d-f n-z]
        L0 n..o below 99: nothing
        L5 d..e below 99: Merge L5 [d-f] -> L6 [c-e]
        L6 a..z below 99: Rewrite L6 [m-z] -> L6 []
        L5 a..z below 5: nothing
    "#]]
    .assert_eq(&told);
}

#[test]
fn jobs_never_write_overlapping_ranges_to_one_level() {
    let drawing = draw("L0 a-b:10#2 y-z:10#1\n L4 m-n:200\n L5 g-h:10\n L6 a-z:100");
    let picker = Picker::new(options());
    let [first, last] = [0, 1].map(|table| Arc::clone(&drawing.version.level0()[table]));
    // Chosen while the base was level 5.
    let down = Pick {
        kind: PickKind::Merge,
        input_level: 0,
        inputs: vec![first, last],
        output_level: 5,
        output_inputs: Vec::new(),
    };
    let job = drawing.claims.claim(KeyspaceId(0), |_| Some((down, ()))).unwrap();
    let pick = || drawing.claims.look(|in_flight| picker.pick(&drawing.version, in_flight, 0));
    assert_eq!(tell(pick().as_ref()), "nothing", "m-n must not come between at level 5");
    drop(job);
    assert_eq!(tell(pick().as_ref()), "Move L4 [m-n] -> L5 []");
}

#[test]
fn a_table_half_of_which_has_expired_is_written_anew_where_it_is() {
    check(
        "L5 a-m:20@101 n-z:20@200\n L6 a-z:30@101",
        expect![[r#"
        L5 0.40, pending 0 KiB
        nothing"#]],
    );
    check(
        "L5 a-m:20@100 n-z:20\n L6 a-z:30@101",
        expect![[r#"
        L5 0.40, pending 0 KiB
        Rewrite L5 [a-m] -> L5 []"#]],
    );
    check(
        "L0 a-m:20#2 a-m:20#1@7\n L6 a-z:30@7!",
        expect![[r#"
        L0 0.50, pending 0 KiB
        Rewrite L0 [a-m] -> L0 []"#]],
    );
    // Readers of older versions than the newest in it see what has expired as it was.
    let drawing = draw("L6 a-m:20@100");
    let pick = |discard_version, except: &[TableId]| {
        let (picker, except) = (Picker::new(options()), except.iter().copied().collect());
        drawing.claims.look(|in_flight| picker.pick_expired(&drawing.version, in_flight, discard_version, NOW, &except))
    };
    assert!(pick(8, &[]).is_none() && pick(9, &[]).is_some());
    assert!(pick(9, &[TableId(1)]).is_none(), "one that cannot be read");
}

#[test]
fn what_expired_counts_with_the_values_that_it_points_to() {
    let drawing = draw("L6 a-z:8@100");
    let table = drawing.version.tables(6)[0].meta().clone();
    let from = |eighths: &[u64], pointed_bytes, keys_stay| {
        let expiry = TableExpiry { first: 1, eighths: eighths.to_vec() };
        // Half of it are keys.
        let (user_key_bytes, value_bytes) = (4 * KIB, 4 * KIB);
        TableMeta { expiry, pointed_bytes, user_key_bytes, value_bytes, ..table.clone() }
            .worth_rewriting_from(keys_stay)
    };
    assert_eq!(from(&[], 1 << 40, false), None, "it may never be an eighth");
    assert_eq!(from(&[1, 2, 3], 0, false), None, "freeing 3 KiB would write 5");
    assert_eq!(from(&[1, 2, 3, 4, 5], 0, false), Some(4));
    assert_eq!(from(&[1, 2, 3, 4, 5], 100 * KIB, false), Some(1));
    assert_eq!(from(&[1, 2, 3, 4, 5], 8 * KIB, false), Some(3), "2 of 16 KiB for 7, 4 for 6, 6 for 5");
    assert_eq!(from(&[1, 2, 3, 4, 5, 6, 7, 8], 0, true), Some(8), "4 KiB of values for 4 of tombstones");
    assert_eq!(from(&[1, 2, 3, 4, 5, 6, 7, 8], 8 * KIB, true), Some(4), "6 KiB for 2 of values and 4 of keys");
}

/// Any tree, any jobs: what a pick must hold whatever the scores say.
#[test]
fn every_pick_of_any_tree_is_sound() {
    let picker = Picker::new(PickerOptions { level_base_bytes: 30 * KIB, compaction_bytes_max: 90 * KIB, ..options() });
    let (mut picked, seed) = (0, 0x5eed);
    println!("seed {seed:#x}");
    let mut rng = Rng::new(seed);
    for _ in 0..400 {
        let drawing = draw(&random_tree(&mut rng));
        let mut jobs = Vec::new();
        loop {
            let job = drawing.claims.claim(KeyspaceId(0), |in_flight| {
                let level = usize::try_from(rng.below(9)).unwrap();
                let pick = match level {
                    0..LEVELS => {
                        picker.pick_range(&drawing.version, in_flight, level, KeyRange::ALL, TableId(999), NOW)
                    }
                    _ => pick(&picker, &drawing.version, in_flight),
                }?;
                Some((pick.clone(), pick))
            });
            let Some((_, claim, pick)) = job else { break };
            assert_sound(&drawing.version, &pick, &jobs.iter().map(|(_, pick)| pick).collect::<Vec<_>>());
            jobs.push((claim, pick));
            picked += 1;
        }
    }
    assert!(picked > 300, "{picked}");
}

fn random_tree(rng: &mut Rng) -> String {
    let mut text = String::new();
    for sequence in (1..=rng.below(9)).rev() {
        let (a, b) = (rng.below(26), rng.below(26));
        let (first, last) = (letter(a.min(b)), letter(a.max(b)));
        let busy = if rng.one_in(9) { "!" } else { "" };
        write!(text, "\nL0 {first}-{last}:{}#{sequence}{busy}", 1 + rng.below(30)).unwrap();
    }
    for level in 3..LEVELS {
        write!(text, "\nL{level}").unwrap();
        let mut key = rng.below(4);
        while key < 25 && !rng.one_in(5) {
            let end = (key + rng.below(4)).min(25);
            let expiry = if rng.one_in(4) { "@50" } else { "" };
            let (first, last) = (letter(key), letter(end));
            write!(text, " {first}-{last}:{}%{}{expiry}", 5 + rng.below(30), rng.below(9)).unwrap();
            key = end + 1 + rng.below(4);
        }
    }
    text
}

fn letter(position: u64) -> char {
    char::from(b'a' + u8::try_from(position).unwrap())
}

fn assert_sound(version: &TreeVersion, pick: &Pick, jobs: &[&Pick]) {
    let story = tell(Some(pick));
    let is_input = |table: &Arc<TableHandle>| pick.tables().any(|input| input.id() == table.id());
    let (first, last) = pick.user_range().unwrap();
    if pick.output_level > 0 && pick.kind != PickKind::Move {
        let level = version.tables(pick.output_level);
        assert!(level.iter().all(|table| is_input(table) || !table.meta().overlaps(first, last)), "{story}");
    }
    if pick.input_level == 0 && pick.output_level > 0 {
        for input in &pick.inputs {
            let older = version.level0().iter().filter(|table| table.meta().sequence < input.meta().sequence);
            assert!(older.into_iter().all(|table| is_input(table) || !overlap(table, input)), "{story}");
        }
        assert!((1..pick.output_level).all(|between| version.tables(between).is_empty()), "{story}");
    }
    if pick.kind == PickKind::MergeLevel0 {
        let newest = pick.inputs.iter().map(|table| table.meta().sequence).max().unwrap();
        let oldest = pick.inputs.iter().map(|table| table.meta().sequence).min().unwrap();
        let between = version.level0().iter().filter(|table| (oldest..=newest).contains(&table.meta().sequence));
        assert!(between.into_iter().all(is_input), "{story}");
    }
    if pick.kind == PickKind::Move {
        let below = version.tables(pick.output_level);
        for input in &pick.inputs {
            assert!(below.iter().all(|table| !overlap(table, input)), "{story}");
            let others = pick.inputs.iter().filter(|other| other.id() != input.id());
            assert!(others.into_iter().all(|other| !overlap(other, input)), "{story}");
        }
    }
    for job in jobs {
        assert!(job.tables().all(|table| !is_input(table)), "{story} against {}", tell(Some(job)));
        let (job_first, job_last) = job.user_range().unwrap();
        let apart = job_last < first || last < job_first;
        let same_output = job.output_level == pick.output_level && pick.output_level > 0;
        assert!(apart || !same_output, "{story} against {}", tell(Some(job)));
    }
}
