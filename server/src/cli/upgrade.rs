//! Upgrading without a pause: SIGUSR2 starts the program anew, with the listening sockets as its own.
//!
//! In the order of events: descriptors of all listening sockets are handed to the new process, beside one on which it says
//! that it serves; meanwhile this one goes on. Then both accept from the same queues, this one stops doing so and ends when
//! its last response is finished. When the new process ends before it serves, nothing has changed.

use crate::net::inherited;
use command_fds::{CommandFdExt, FdMapping};
use std::{
    env, io,
    os::{fd::OwnedFd, unix::net::UnixDatagram as StdDatagram},
    path::PathBuf,
    process::{Child, Command, ExitStatus},
    time::Duration,
};
use tokio::{net::UnixDatagram, time::sleep};

/// The first descriptor that is handed over (sd_listen_fds(3)).
const FIRST: usize = 3;

/// How often the new process is looked after.
const LOOK: Duration = Duration::from_millis(50);

/// How long it may take to load everything. Nobody waits for it meanwhile.
const START: Duration = Duration::from_secs(600);

/// The program and its arguments, as they were when this process began: the file may be replaced since.
#[derive(Debug)]
pub struct Program(PathBuf);

/// What is handed over.
#[derive(Debug)]
pub struct Sockets {
    /// Each with its name, as [`inherited`] reads it.
    pub listeners: Vec<(String, OwnedFd)>,
    /// Each with its path or address.
    pub admin: Vec<(String, OwnedFd)>,
}

/// A process that is to replace this one.
#[derive(Debug)]
pub struct Successor {
    child: Child,
    ready: UnixDatagram,
    /// Not ours to end any more.
    serves: bool,
}

/// Why this process goes on.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    #[error("the new process cannot be started")]
    Start(#[source] io::Error),
    #[error("the new process ended before it served: {0}")]
    Ended(ExitStatus),
    #[error("the new process does not serve after {START:?}")]
    Slow,
}

// === impl Program ===

impl Program {
    pub fn this() -> io::Result<Self> {
        env::current_exe().map(Self)
    }

    /// Starts it with these listening sockets. To be called within a runtime.
    ///
    /// # Errors
    /// When there is no room for another process or its descriptors.
    pub fn start(&self, sockets: Sockets) -> Result<Successor, UpgradeError> {
        let Sockets { listeners, admin } = sockets;
        let started = || {
            let (ours, theirs) = StdDatagram::pair()?;
            ours.set_nonblocking(true)?;
            let ready = UnixDatagram::from_std(ours)?;
            let mut handed: Vec<(String, OwnedFd)> = vec![(inherited::READY.to_owned(), theirs.into())];
            handed.extend(listeners);
            let admin = admin.into_iter();
            handed.extend(admin.map(|(name, socket)| (format!("{}{name}", inherited::ADMIN), socket)));
            let names: Vec<String> = handed.iter().map(|(name, _)| inherited::escape(name)).collect();
            let mut command = Command::new(&self.0);
            command
                .args(env::args_os().skip(1))
                .env("LISTEN_FDS", handed.len().to_string())
                .env("LISTEN_FDNAMES", names.join(":"))
                // These are of this process alone.
                .env_remove("LISTEN_PID")
                .env_remove("LISTEN_FDS_FIRST_FD")
                .env_remove("WATCHDOG_PID");
            let mappings = handed.into_iter().enumerate().map(|(index, (_, parent_fd))| FdMapping {
                parent_fd,
                child_fd: i32::try_from(FIRST + index).unwrap_or(i32::MAX),
            });
            command.fd_mappings(mappings.collect()).map_err(io::Error::other)?;
            Ok(Successor {
                child: command.spawn()?,
                ready,
                serves: false,
            })
        };
        started().map_err(UpgradeError::Start)
    }
}

// === impl Successor ===

impl Successor {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends when it serves.
    ///
    /// # Errors
    /// When it has ended, or does not serve in time; it is ended when it is dropped then.
    pub async fn serves(&mut self) -> Result<(), UpgradeError> {
        let mut word = [0; 64];
        let mut waited = Duration::ZERO;
        while waited < START {
            tokio::select! {
                biased;
                said = self.ready.recv(&mut word) => {
                    if said.is_ok_and(|length| word[..length] == *inherited::READY.as_bytes()) {
                        self.serves = true;
                        return Ok(());
                    }
                }
                () = sleep(LOOK) => {}
            }
            waited += LOOK;
            if let Some(status) = self.child.try_wait().map_err(UpgradeError::Start)? {
                return Err(UpgradeError::Ended(status));
            }
        }
        Err(UpgradeError::Slow)
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        if !self.serves {
            // It may have ended by itself.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
