//! The command line, as clap reads it.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};

/// Looks into and after ratel stores.
///
/// Keys and values are written with \\ \t \n \r and \xNN for what does not print.
#[derive(Debug, Parser)]
#[command(name = "ratel", version, after_help = EXIT_CODES)]
pub(crate) struct Arguments {
    /// The master key of an encrypted store: a file of 32 bytes, or of 64 hexadecimal digits
    #[arg(long, global = true, value_name = "F")]
    pub(crate) key_file: Option<PathBuf>,

    /// The folder of a store's large values, if it is not in the store's own
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) value_dir: Option<PathBuf>,

    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 failed, 2 wrong arguments or input, 3 no such key, 4 done but for the files or keys that were
named (the first 1,000 of them), 5 store damaged, 6 store open elsewhere, 7 no store or not one of this program, 8 disk full,
9 key missing or wrong.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Stores the files of a folder, or the entries of a text file
    Import(Import),
    /// Writes every entry as a file below a folder
    Export(Export),
    /// Prints the value of a key as it is
    Get(Get),
    /// Sets a key
    Put(Put),
    /// Deletes keys
    Del(Del),
    /// Prints entries, one a line
    Scan(Scan),
    /// Prints what the store is made of, and what opening it found
    Info(Info),
    /// Reads all tables, and all values that entries point to, and compares their checksums
    Verify(Store),
    /// Collects garbage of the value log: values that no entry points to any more
    Gc(Gc),
    /// Looks after the value log's account of what is garbage
    #[command(subcommand)]
    Vlog(Vlog),
    /// Changes the keys of an encrypted store
    Rotate(Rotate),
    /// Measures how fast this store is here, on workloads that go by db_bench's names
    Bench(bench::Arguments),
    /// Looks into and merges Bitcask stores
    Bitcask {
        #[command(subcommand)]
        command: BitcaskCommand,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum BitcaskCommand {
    /// Gives back the space of what was deleted, replaced or has expired, in a store that nobody writes to
    Merge(BitcaskMerge),
    /// Prints all keys, one a line, in no order
    List(Store),
    /// Prints the value of a key as it is
    Get(Get),
}

#[derive(Debug, Args)]
pub(crate) struct BitcaskMerge {
    /// The store's folder
    pub(crate) store: PathBuf,
    /// Only if a file calls for it: 60 % of its records or 512 MiB are dead, or all has expired
    #[arg(long)]
    pub(crate) if_needed: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Store {
    /// The store's folder
    pub(crate) store: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Gc {
    /// The store's folder
    pub(crate) store: PathBuf,
    /// Collects segments of which at least this part is garbage, above 0 and below 1
    #[arg(long, value_name = "R", default_value_t = 0.5)]
    pub(crate) discard_ratio: f64,
    /// Only says what would be collected, by the garbage that is known
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Vlog {
    /// Compares what is taken for garbage with what entries point to, and says what leaked
    Check(Store),
    /// The same, and mends what differs
    Rebuild(Store),
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("what").required(true).multiple(true).args(["new_key_file", "data_key"])))]
pub(crate) struct Rotate {
    /// The store's folder
    pub(crate) store: PathBuf,
    /// Wraps the data keys under the master key in this file, with which the store opens from then on
    #[arg(long, value_name = "F")]
    pub(crate) new_key_file: Option<PathBuf>,
    /// Makes a new data key, under which files are encrypted from then on
    #[arg(long)]
    pub(crate) data_key: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Info {
    /// The store's folder
    pub(crate) store: PathBuf,
    /// Names every table
    #[arg(long)]
    pub(crate) tables: bool,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("source").required(true).args(["dir", "tsv", "jsonl"])))]
pub(crate) struct Import {
    /// The store's folder; made if it is not there
    pub(crate) store: PathBuf,

    /// Stores every file below this folder: its path is the key, its bytes are the value
    #[arg(long, value_name = "D")]
    pub(crate) dir: Option<PathBuf>,

    /// Stores the lines `key TAB value` of a file; - is standard input
    #[arg(long, value_name = "F")]
    pub(crate) tsv: Option<PathBuf>,

    /// Stores the JSON objects of a file, one a line, with key or key_base64, value or value_base64, user_meta
    #[arg(long, value_name = "F")]
    pub(crate) jsonl: Option<PathBuf>,

    /// How blocks of tables written from now on are stored
    #[arg(long, value_enum, value_name = "CODEC")]
    pub(crate) compression: Option<Codec>,

    /// How large values written from now on are stored
    #[arg(long, value_enum, value_name = "CODEC")]
    pub(crate) value_compression: Option<Codec>,
}

/// How table blocks or values are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Codec {
    /// As they are
    None,
    /// Snappy
    Snappy,
    /// Zstandard
    Zstd,
    /// Chosen for each block or value by what is in it
    Adaptive,
}

#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The store's folder
    pub(crate) store: PathBuf,

    /// Writes below this folder and nowhere else; made if it is not there
    #[arg(long, value_name = "OUT")]
    pub(crate) dir: PathBuf,

    /// Makes a safe file name of every key instead of a path
    #[arg(long)]
    pub(crate) escape: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Get {
    /// The store's folder
    pub(crate) store: PathBuf,
    /// The key
    pub(crate) key: OsString,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("source").required(true).args(["value", "file"])))]
pub(crate) struct Put {
    /// The store's folder; made if it is not there
    pub(crate) store: PathBuf,
    /// The key
    pub(crate) key: OsString,
    /// The value
    pub(crate) value: Option<OsString>,
    /// Takes the value from a file as it is; - is standard input
    #[arg(long, value_name = "F")]
    pub(crate) file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Del {
    /// The store's folder
    pub(crate) store: PathBuf,
    /// The keys
    #[arg(required = true)]
    pub(crate) keys: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(crate) struct Scan {
    /// The store's folder
    pub(crate) store: PathBuf,
    /// Only keys that start with this
    #[arg(long, value_name = "P")]
    pub(crate) prefix: Option<OsString>,
    /// At most this many entries
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
    /// Only keys; values are not read
    #[arg(long)]
    pub(crate) keys_only: bool,
    /// From the last key to the first
    #[arg(long)]
    pub(crate) reverse: bool,
    /// As JSON objects that `import --jsonl` reads, user_meta included
    #[arg(long, conflicts_with = "keys_only")]
    pub(crate) jsonl: bool,
}
