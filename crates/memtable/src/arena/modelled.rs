//! What stands for an arena's links and plain bytes in a modelled build: loom objects in side tables by offset.
//!
//! The tables' own lock is a plain one and is never held while a modelled operation runs, so the model does not see it.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use base::sync::atomic::AtomicU32;
use loom::cell::UnsafeCell;

/// Modelled links and watched nodes by offset.
#[derive(Default)]
pub(super) struct Shadow {
    links: Mutex<HashMap<usize, Arc<AtomicU32>>>,
    nodes: Mutex<HashMap<usize, Arc<UnsafeCell<()>>>>,
}

/// A modelled link, borrowed as a word of the arena would be.
pub(super) struct ModelledLink<'a> {
    link: Arc<AtomicU32>,
    arena: PhantomData<&'a Shadow>,
}

impl Deref for ModelledLink<'_> {
    type Target = AtomicU32;

    fn deref(&self) -> &AtomicU32 {
        &self.link
    }
}

impl Shadow {
    /// Notes that this thread fills a node, and creates its links, which start as 0 as an arena does. The model fails if
    /// the node could be read, or a link of it reached, before this.
    pub(super) fn begin_node<const LINKS: usize>(&self, node: usize, links: [usize; LINKS]) {
        self.node(node).with_mut(|_| ());
        let created = links.map(|at| (at, Arc::default()));
        self.links.lock().unwrap_or_else(PoisonError::into_inner).extend(created);
    }

    /// The link at an offset. Fails the model where no node has one there.
    #[expect(clippy::indexing_slicing, reason = "a panic is how a model fails")]
    pub(super) fn link(&self, at: usize) -> ModelledLink<'_> {
        let links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        ModelledLink { link: Arc::clone(&links[&at]), arena: PhantomData }
    }

    /// Notes that this thread reads a node. The model fails if it could still be being filled.
    pub(super) fn reads(&self, node: usize) {
        self.node(node).with(|_| ());
    }

    fn node(&self, at: usize) -> Arc<UnsafeCell<()>> {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(nodes.entry(at).or_insert_with(|| Arc::new(UnsafeCell::new(()))))
    }
}
