//! What sealing costs a block, a record and the opening of a file.
//!
//! `cargo bench -p encryption`
#![expect(clippy::expect_used, reason = "a benchmark that cannot run has nothing better to do")]

use std::path::Path;
use std::sync::Arc;

use base::StoreId;
use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use encryption::{FileCipher, FileKind, Keyring, StaticKey};
use vfs::{MemFs, Vfs};

const KIND: FileKind = *b"RATELSST";

fn main() {
    divan::main();
}

fn keyring() -> Keyring {
    let fs: Arc<dyn Vfs> = Arc::new(MemFs::new(1));
    let provider = Arc::new(StaticKey::new(&[1; 32]));
    Keyring::create(&fs, Path::new("/"), StoreId([2; 16]), provider, 0).expect("memory takes the registry")
}

fn cipher() -> FileCipher {
    FileCipher::for_new_file(Some(&keyring()), &KIND, &[3; 32]).1.expect("there are keys")
}

#[divan::bench(args = [100, 4_096, 32_768])]
fn seal(bencher: Bencher<'_, '_>, len: usize) {
    let cipher = cipher();
    let mut text = vec![7; len];
    bencher.counter(BytesCount::new(len)).bench_local(|| cipher.seal_in_place(black_box(1), 0, b"header", &mut text));
}

#[divan::bench(args = [100, 4_096, 32_768])]
fn open(bencher: Bencher<'_, '_>, len: usize) {
    let cipher = cipher();
    let mut sealed = vec![7; len];
    let tag = cipher.seal_in_place(1, 0, b"header", &mut sealed);
    bencher
        .counter(BytesCount::new(len))
        .with_inputs(|| sealed.clone())
        .bench_local_refs(|text| cipher.open_in_place(black_box(1), 0, b"header", text, &tag));
}

#[divan::bench]
fn key_of_a_file(bencher: Bencher<'_, '_>) {
    let keyring = keyring();
    let id = keyring.current();
    bencher.bench_local(|| FileCipher::of_file(Some(&keyring), id, &KIND, black_box(&[3; 32])));
}
