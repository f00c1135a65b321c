//! Locks, shared pointers and atomics: `parking_lot` and `std` in normal builds, `loom` in modelled ones, in one shape.
//!
//! A lock is never poisoned: whoever panics under one latches that itself.

#[cfg(not(loom))]
pub use normal::*;

#[cfg(loom)]
pub use modelled::*;

#[cfg(not(loom))]
mod normal {
    pub use parking_lot::{Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
    pub use std::sync::{Arc, OnceLock, Weak};

    /// Atomic integers and fences.
    pub mod atomic {
        pub use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
    }

    /// Tells the processor that this is a spin loop.
    pub fn spin_loop() {
        std::hint::spin_loop();
    }
}

#[cfg(loom)]
mod modelled {
    use std::ops::{Deref, DerefMut};

    pub use loom::sync::{Arc, RwLockReadGuard, RwLockWriteGuard};

    /// Atomic integers and fences.
    pub mod atomic {
        pub use loom::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
    }

    /// Lets another modelled thread run.
    pub fn spin_loop() {
        loom::thread::yield_now();
    }

    /// A modelled mutex in the shape of `parking_lot`'s.
    #[derive(Debug, Default)]
    pub struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        /// A free mutex.
        pub fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        /// Waits for the lock.
        #[expect(clippy::unwrap_used, reason = "a modelled thread that panics ends the model")]
        pub fn lock(&self) -> MutexGuard<'_, T> {
            MutexGuard(Some(self.0.lock().unwrap()))
        }

        /// Takes the lock if it is free.
        pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            self.0.try_lock().ok().map(|guard| MutexGuard(Some(guard)))
        }
    }

    /// Holds a modelled mutex; empty only while a [`Condvar`] waits with it.
    #[derive(Debug)]
    pub struct MutexGuard<'a, T>(Option<loom::sync::MutexGuard<'a, T>>);

    impl<T> Deref for MutexGuard<'_, T> {
        type Target = T;

        #[expect(clippy::unwrap_used, reason = "filled but for the time inside Condvar::wait")]
        fn deref(&self) -> &T {
            self.0.as_ref().unwrap()
        }
    }

    impl<T> DerefMut for MutexGuard<'_, T> {
        #[expect(clippy::unwrap_used, reason = "filled but for the time inside Condvar::wait")]
        fn deref_mut(&mut self) -> &mut T {
            self.0.as_mut().unwrap()
        }
    }

    /// A modelled condition variable in the shape of `parking_lot`'s.
    #[derive(Debug, Default)]
    pub struct Condvar(loom::sync::Condvar);

    impl Condvar {
        /// A condition nobody waits for.
        pub fn new() -> Self {
            Self(loom::sync::Condvar::new())
        }

        /// Frees the lock, waits to be woken, and takes the lock again.
        #[expect(clippy::unwrap_used, reason = "a modelled thread that panics ends the model")]
        pub fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
            let inner = guard.0.take().unwrap();
            guard.0 = Some(self.0.wait(inner).unwrap());
        }

        /// Wakes one waiter.
        pub fn notify_one(&self) -> bool {
            self.0.notify_one();
            true
        }

        /// Wakes all waiters.
        pub fn notify_all(&self) -> usize {
            self.0.notify_all();
            0
        }
    }

    /// A modelled reader-writer lock in the shape of `parking_lot`'s.
    #[derive(Debug, Default)]
    pub struct RwLock<T>(loom::sync::RwLock<T>);

    impl<T> RwLock<T> {
        /// A free lock.
        pub fn new(value: T) -> Self {
            Self(loom::sync::RwLock::new(value))
        }

        /// Waits for shared access.
        #[expect(clippy::unwrap_used, reason = "a modelled thread that panics ends the model")]
        pub fn read(&self) -> RwLockReadGuard<'_, T> {
            self.0.read().unwrap()
        }

        /// Waits for exclusive access.
        #[expect(clippy::unwrap_used, reason = "a modelled thread that panics ends the model")]
        pub fn write(&self) -> RwLockWriteGuard<'_, T> {
            self.0.write().unwrap()
        }
    }
}
