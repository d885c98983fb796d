//! Answering operators: from before anything is loaded until everything has ended.

use crate::{
    admin::{self, Counter, Desk, Guard, Socket, desk::Reload, serve, serve_tcp},
    config::OperatorSettings,
    net::{Inherited, inherited, unix::Name},
    watch::{Secret, SecretError},
};
use anyhow::Context;
use std::{
    io,
    net::SocketAddr,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    sync::Arc,
};
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};

/// The admin listeners.
pub struct Operators {
    pub desk: Arc<Desk>,
    counter: Arc<Counter>,
    tasks: Vec<JoinHandle<()>>,
    /// Other descriptors of what is listened on, by path or address.
    sockets: Vec<(String, OwnedFd)>,
}

// === impl Operators ===

impl Operators {
    /// Binds, or takes what the process before this one listened on, and answers. Reloads that are asked for come by the receiver.
    ///
    /// # Errors
    /// A socket or an address that cannot be listened on; a token that cannot be read.
    pub async fn start(
        settings: &OperatorSettings,
        inherited: &mut Inherited,
    ) -> Result<(Self, mpsc::Receiver<Reload>), anyhow::Error> {
        let (desk, reloads) = Desk::new(settings.metrics_by_site);
        let listener = settings.listener.as_ref();
        let token = listener.map(|listener| Secret::read("the admin token", &listener.token_file));
        let guard = Guard::new(&settings.hosts, token.transpose()?);
        let counter = Arc::new(Counter::new(desk.clone(), guard));
        let mut tasks = Vec::new();
        let mut sockets = Vec::new();
        let socket = settings
            .socket()
            .map(|path| unix_socket(&path, inherited))
            .transpose()?;
        // Another process answers on what is inherited until this one has loaded everything, and knows that it is ready.
        let wait = |inherited: bool| {
            let desk = desk.clone();
            async move {
                if inherited {
                    desk.opened().await;
                }
            }
        };
        if let Some(listener) = listener {
            let address = listener.address;
            let bound = tcp_listener(address, inherited).await;
            let (bound, taken) = bound.with_context(|| format!("cannot listen for operators on {address}"))?;
            sockets.push((address.to_string(), bound.as_fd().try_clone_to_owned()?));
            let address = bound.local_addr().context("cannot listen for operators")?;
            tracing::info!(%address, "listening for operators who show the token");
            if !address.ip().is_loopback() {
                tracing::warn!(%address, "operators are answered in plain HTTP: whoever is in between sees the token");
            }
            let (wait, counter) = (wait(taken), counter.clone());
            tasks.push(tokio::spawn(async move {
                wait.await;
                serve_tcp(bound, counter).await;
            }));
        }
        if let Some((socket, taken)) = socket {
            tracing::info!(path = %socket.path().display(), "listening for operators");
            let descriptor = socket.listener.as_fd().try_clone_to_owned()?;
            sockets.push((socket.path().display().to_string(), descriptor));
            let (wait, counter) = (wait(taken), counter.clone());
            tasks.push(tokio::spawn(async move {
                wait.await;
                serve(socket, counter).await;
            }));
        }
        if !tasks.is_empty() {
            let desk = desk.clone();
            tasks.push(tokio::spawn(async move { desk.watch().await }));
        }
        let operators = Self {
            desk,
            counter,
            tasks,
            sockets,
        };
        Ok((operators, reloads))
    }

    /// Descriptors of what is listened on, by path or address, for the process that replaces this one.
    ///
    /// # Errors
    /// When there is no room for them.
    pub fn descriptors(&self) -> io::Result<Vec<(String, OwnedFd)>> {
        let sockets = self.sockets.iter();
        sockets
            .map(|(name, socket)| Ok((name.clone(), socket.try_clone()?)))
            .collect()
    }

    /// Accepts nothing more: another process does.
    pub fn withdraw(&self) {
        for task in &self.tasks {
            task.abort();
        }
    }

    /// Answers whoever was accepted, and nobody any more.
    pub async fn end(self) {
        for task in self.tasks {
            task.abort();
            // A socket is removed when its task has ended.
            let _ = task.await;
        }
        self.counter.finish().await;
    }
}

/// Whether the secrets can be read that operators show.
///
/// # Errors
/// The first that serving would not start with.
pub fn check(settings: &OperatorSettings) -> Result<(), SecretError> {
    let token = settings.listener.as_ref().map(|listener| &listener.token_file);
    let token = token.map(|file| ("the admin token", file));
    let debug = settings
        .debug_secret_file
        .as_ref()
        .map(|file| ("the debug secret", file));
    token
        .into_iter()
        .chain(debug)
        .try_for_each(|(what, file)| Secret::read(what, file).map(drop))
}

/// With whether it is inherited; here and below.
fn unix_socket(path: &Path, inherited: &mut Inherited) -> Result<(Socket, bool), anyhow::Error> {
    match inherited.admin(&path.display().to_string()) {
        Some(inherited::Socket::Unix(listener)) => {
            let socket = Socket::inherited(listener, path, Name::Ours);
            let socket = socket.with_context(|| format!("cannot listen on the socket {}", path.display()))?;
            Ok((socket, true))
        }
        _ => Ok((Socket::bind(path, admin::MODE)?, false)),
    }
}

async fn tcp_listener(address: SocketAddr, inherited: &mut Inherited) -> io::Result<(TcpListener, bool)> {
    match inherited.admin(&address.to_string()) {
        Some(inherited::Socket::Tcp(listener)) => {
            listener.set_nonblocking(true)?;
            Ok((TcpListener::from_std(listener)?, true))
        }
        _ => Ok((TcpListener::bind(address).await?, false)),
    }
}
