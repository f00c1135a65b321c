//! A file in memory, open for reading. It keeps the file alive after its name is gone.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::node::Node;
use crate::{Advice, Error, Mapping, Operation, ReadFile, Result};

/// Reads the bytes as they are now.
#[derive(Debug)]
pub(super) struct MemReadFile {
    node: Arc<Node>,
    path: PathBuf,
}

impl MemReadFile {
    pub(super) fn new(node: Arc<Node>, path: PathBuf) -> Self {
        Self { node, path }
    }
}

impl ReadFile for MemReadFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn len(&self) -> Result<u64> {
        Ok(self.node.state.read().live.len())
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        if self.node.state.read().live.read_exact(buffer, offset) {
            Ok(())
        } else {
            Err(Error::new(Operation::Read, &self.path, io::ErrorKind::UnexpectedEof.into()).at(offset))
        }
    }

    fn map(&self, len: u64) -> Result<Mapping> {
        let state = self.node.state.read();
        if len > self.node.mappable_len(&state) {
            return Err(Error::new(Operation::Map, &self.path, io::ErrorKind::UnexpectedEof.into()).at(len));
        }
        Ok(state.live.map(len))
    }

    fn advise(&self, _offset: u64, _len: u64, _advice: Advice) {}
}
