//! Answering operators: from before anything is loaded until everything has ended.

use crate::{
    admin::{Counter, Desk, Guard, Socket, desk::Reload, serve, serve_tcp},
    config::OperatorSettings,
    watch::Secret,
};
use anyhow::Context;
use std::sync::Arc;
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};

/// The admin listeners.
pub struct Operators {
    pub desk: Arc<Desk>,
    tasks: Vec<JoinHandle<()>>,
}

// === impl Operators ===

impl Operators {
    /// Binds and answers. Reloads that are asked for come by the receiver.
    ///
    /// # Errors
    /// A socket or an address that cannot be listened on; a token that cannot be read.
    pub async fn start(settings: &OperatorSettings) -> Result<(Self, mpsc::Receiver<Reload>), anyhow::Error> {
        let (desk, reloads) = Desk::new(settings.metrics_by_site);
        let listener = settings.listener.as_ref();
        let token = listener.map(|listener| Secret::read("the admin token", &listener.token_file));
        let counter = Arc::new(Counter {
            desk: desk.clone(),
            guard: Guard::new(&settings.hosts, token.transpose()?),
        });
        let mut tasks = Vec::new();
        let socket = settings.socket().map(|path| Socket::bind(&path)).transpose()?;
        if let Some(listener) = listener {
            let address = listener.address;
            let bound = TcpListener::bind(address).await;
            let bound = bound.with_context(|| format!("cannot listen for operators on {address}"))?;
            let address = bound.local_addr().context("cannot listen for operators")?;
            tracing::info!(%address, "listening for operators who show the token");
            if !address.ip().is_loopback() {
                tracing::warn!(%address, "operators are answered in plain HTTP: whoever is in between sees the token");
            }
            tasks.push(tokio::spawn(serve_tcp(bound, counter.clone())));
        }
        if let Some(socket) = socket {
            tracing::info!(path = %socket.path().display(), "listening for operators");
            tasks.push(tokio::spawn(serve(socket, counter)));
        }
        if !tasks.is_empty() {
            let desk = desk.clone();
            tasks.push(tokio::spawn(async move { desk.watch().await }));
        }
        Ok((Self { desk, tasks }, reloads))
    }

    /// Answers nobody any more.
    pub async fn end(self) {
        for task in self.tasks {
            task.abort();
            // A socket is removed when its task has ended.
            let _ = task.await;
        }
    }
}
