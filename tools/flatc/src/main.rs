//! Generates the Rust code of the table index from its schema, with the FlatBuffers compiler that matches the
//! `flatbuffers` runtime.
//!
//! `flatc` writes `crates/schema/src/generated.rs` and the hash of the schema beside it; `flatc --check` compares both
//! with what stands there and fails where they differ. Called by `cargo xtask codegen [--check]`.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, fs, io};

use xxhash_rust::xxh3::xxh3_64;

fn main() -> ExitCode {
    let check = match env::args().nth(1).as_deref() {
        None => false,
        Some("--check") => true,
        Some(other) => {
            eprintln!("unknown argument {other}; only --check is known");
            return ExitCode::from(2);
        }
    };
    match run(check) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("codegen: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(check: bool) -> io::Result<bool> {
    let schema_crate = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/schema");
    let schema = schema_crate.join("schemas/table_index.fbs");
    let generated = generate(&schema)?;
    let hash = format!("{:016x}\n", xxh3_64(&fs::read(&schema)?));
    let outputs =
        [(schema_crate.join("src/generated.rs"), generated), (schema_crate.join("src/generated.hash"), hash)];
    let mut same = true;
    for (path, text) in outputs {
        if check {
            if fs::read_to_string(&path)? != text {
                eprintln!("{} is not what its schema generates", path.display());
                same = false;
            }
        } else {
            fs::write(&path, text)?;
        }
    }
    Ok(same)
}

/// Compiles the schema into a folder of this process and returns the formatted code.
fn generate(schema: &Path) -> io::Result<String> {
    let folder = env::temp_dir().join(format!("ratel-codegen-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let code = compile(schema, &folder);
    fs::remove_dir_all(&folder)?;
    code
}

fn compile(schema: &Path, folder: &Path) -> io::Result<String> {
    must_succeed(Command::new(flatc_fork::flatc()).arg("--rust").arg("-o").arg(folder).arg(schema))?;
    let output: PathBuf = folder.join("table_index_generated.rs");
    let style = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../rustfmt.toml");
    must_succeed(Command::new("rustfmt").arg("--edition").arg("2024").arg("--config-path").arg(style).arg(&output))?;
    fs::read_to_string(output)
}

fn must_succeed(command: &mut Command) -> io::Result<()> {
    let status = command.status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("{command:?} ended with {status}"))) }
}
