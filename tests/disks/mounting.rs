//! Somebody who mounts and unmounts all the time, which makes the kernel say of places it knows that it does not
//! (`RESOLVE_CACHED` of openat2(2)).
use crate::leave_out;
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
};
use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
};

/// A thread that mounts and unmounts until this is dropped, where nobody else sees it.
pub struct Mounting {
    stop: Arc<AtomicBool>,
    mounts: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

// === impl Mounting ===

impl Mounting {
    /// Begins over an empty folder. `None`, with the reason on standard error, where this process may not mount and
    /// [`WITHOUT_FUSE`](crate::WITHOUT_FUSE) is set.
    ///
    /// # Panics
    /// Where that cannot be done otherwise.
    #[track_caller]
    pub fn begin(at: &Path) -> Option<Self> {
        let (stop, mounts) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (began, told) = mpsc::channel();
        let thread = thread::spawn({
            let (at, stop, mounts) = (at.to_owned(), Arc::clone(&stop), Arc::clone(&mounts));
            move || {
                let first = alone().and_then(|()| once(&at));
                let go_on = first.is_ok();
                began.send(first).expect("begin waits");
                while go_on && !stop.load(Ordering::Relaxed) {
                    once(&at).expect("it could be mounted before");
                    mounts.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        match told.recv().expect("the thread tells before it ends") {
            Ok(()) => Some(Self {
                stop,
                mounts,
                thread: Some(thread),
            }),
            Err(error) => {
                leave_out(&error);
                None
            }
        }
    }

    /// How often something was mounted so far.
    pub fn mounts(&self) -> u64 {
        self.mounts.load(Ordering::Relaxed)
    }
}

impl Drop for Mounting {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        // A second panic would hide the first.
        assert!(thread::panicking() || matches!(ended, Some(Ok(()))), "mounting failed");
    }
}

/// Gives the calling thread mounts of its own.
fn alone() -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_PRIVATE | MsFlags::MS_REC,
        None::<&str>,
    )?;
    Ok(())
}

fn once(at: &Path) -> io::Result<()> {
    mount(Some("none"), at, Some("tmpfs"), MsFlags::empty(), Some("size=4k"))?;
    umount2(at, MntFlags::MNT_DETACH)?;
    Ok(())
}
