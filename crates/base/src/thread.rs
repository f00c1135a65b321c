//! The one place that starts threads.

#[cfg(loom)]
pub use loom::thread::{JoinHandle, yield_now};
#[cfg(not(loom))]
pub use std::thread::{JoinHandle, yield_now};

/// Starts a named thread.
///
/// # Errors
/// When the system refuses another thread.
#[cfg(not(loom))]
pub fn spawn<T: Send + 'static>(
    name: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> std::io::Result<JoinHandle<T>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(body)
}

/// Starts a modelled thread.
///
/// # Errors
/// Never; the shape is that of a normal build.
#[cfg(loom)]
pub fn spawn<T: Send + 'static>(
    _name: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> std::io::Result<JoinHandle<T>> {
    Ok(loom::thread::spawn(body))
}
