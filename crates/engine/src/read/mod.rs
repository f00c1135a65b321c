//! The read path: point lookups, cursors and iterators over pinned views.

mod cursor;
mod item;
mod iter;
mod lookup;
mod overlay;
mod reader;
mod repin;
mod scan;
mod source;
mod traits;
mod visible;
mod window;

pub use cursor::Cursor;
pub use item::Item;
pub use iter::Iter;
pub use scan::{KeyRange, ScanOptions};
pub use traits::Read;

pub(crate) use traits::sealed;

pub(crate) use item::bad_entry;
pub(crate) use overlay::{OverlaidCursor, PendingWrites};
pub(crate) use reader::{Reader, sources};
pub(crate) use repin::MOVES_BEFORE_REPIN;
pub(crate) use scan::Bounds;
pub(crate) use source::Source;
pub(crate) use visible::{Visibility, VisibleCursor};
pub(crate) use window::Window;
