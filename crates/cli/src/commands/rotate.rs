//! `ratel rotate`: changes the keys of an encrypted store.

use engine::key_file;

use crate::args::Rotate;
use crate::exit::{Code, Failure, say};
use crate::store::Opener;

pub(crate) fn run(arguments: &Rotate, opener: &Opener) -> Result<Code, Failure> {
    if opener.key_file.is_none() {
        return Err(Failure::usage("rotate needs the present master key: --key-file"));
    }
    // Opened with a key, a store that is not encrypted would be so from then on.
    if !arguments.store.join("KEYREGISTRY").exists() {
        let what = format!("{}: not an encrypted store: it has no KEYREGISTRY", arguments.store.display());
        return Err(Failure::new(Code::Incompatible, what));
    }
    // A file without a key in it is told before anything changes.
    let new_master = arguments.new_key_file.as_ref().map(key_file).transpose()?;
    let db = opener.existing(&arguments.store)?;
    if arguments.data_key {
        db.rotate_data_key()?;
        say("files written from now on are encrypted under a new data key")?;
    }
    if let Some(provider) = new_master {
        db.rotate_master_key(provider)?;
        say("the store opens with the new master key from now on")?;
    }
    db.close()?;
    Ok(Code::Done)
}
