//! What went wrong with Redis: for whom, in which words, and whether the breaker counts it.
use crate::Unavailable;
use ::redis::{ErrorKind, RedisError, ServerErrorKind};
use std::{io, time::Duration};

/// Why an operation or a connection came to nothing.
#[derive(Debug)]
pub(super) struct Trouble {
    /// Says nothing of where Redis is: plugins may be a tenant's.
    pub for_guests: &'static str,
    pub for_operators: String,
    /// Whether the next operation can be expected to fail alike.
    pub counts: bool,
}

impl Trouble {
    pub fn timeout(timeout: Duration) -> Self {
        Self {
            for_guests: "the shared store did not answer in time",
            for_operators: format!("it did not answer within {timeout:?}"),
            counts: true,
        }
    }

    pub fn refused() -> Self {
        Self {
            for_guests: "the shared store cannot be used at the moment",
            for_operators: "its breaker is open".into(),
            counts: false,
        }
    }

    pub fn ended() -> Self {
        Self {
            for_guests: "the connection to the shared store ended",
            for_operators: "the connection ended".into(),
            counts: false,
        }
    }

    pub fn connecting(error: &io::Error) -> Self {
        Self {
            for_guests: "the shared store cannot be reached",
            for_operators: format!("cannot connect: {error}"),
            counts: true,
        }
    }

    /// What a server that is no Redis, or a script that is not ours, would answer.
    pub fn unexpected() -> Self {
        Self {
            for_guests: "the shared store cannot be used",
            for_operators: "an answer is not of the form that the script gives".into(),
            counts: false,
        }
    }
}

impl From<Trouble> for Unavailable {
    fn from(trouble: Trouble) -> Self {
        Self(trouble.for_guests.into())
    }
}

impl From<RedisError> for Trouble {
    fn from(error: RedisError) -> Self {
        let (for_guests, advice, counts) = meaning(&error);
        // What Redis says is of commands and accounts, never of passwords.
        let for_operators = match advice {
            "" => error.to_string(),
            advice => format!("{advice} ({error})"),
        };
        Self {
            for_guests,
            for_operators,
            counts,
        }
    }
}

/// For guests, for operators, and whether it counts.
fn meaning(error: &RedisError) -> (&'static str, &'static str, bool) {
    const CANNOT: &str = "the shared store cannot be used at the moment";
    match (error.kind(), error.code().unwrap_or_default()) {
        (ErrorKind::Io, _) => ("the connection to the shared store ended", "", false),
        (ErrorKind::AuthenticationFailed, _) | (_, "WRONGPASS" | "NOAUTH") => {
            (CANNOT, "it refuses user or password", true)
        }
        (ErrorKind::Server(ServerErrorKind::BusyLoading), _) => (CANNOT, "it is still loading its data", true),
        (ErrorKind::Server(ServerErrorKind::ReadOnly), _) => {
            (CANNOT, "it is a replica, and takes no writes: name the primary", true)
        }
        (ErrorKind::Server(ServerErrorKind::Moved | ServerErrorKind::Ask | ServerErrorKind::CrossSlot), _) => (
            CANNOT,
            "it is one of a cluster, and others have a part of the keys: name a single Redis, or a proxy that hides the cluster",
            true,
        ),
        (ErrorKind::Server(ServerErrorKind::MasterDown | ServerErrorKind::ClusterDown), _) => {
            (CANNOT, "it has lost others that it needs", true)
        }
        (ErrorKind::Server(ServerErrorKind::NoPerm), _) => (CANNOT, "its user may not do this", true),
        (_, "OOM") => ("the shared store is full", "it has no memory left", true),
        (_, "BUSY") => (CANNOT, "it is busy with a script", true),
        (_, "MISCONF") => (CANNOT, "it cannot write to its disk", true),
        // Something else that uses the same keys, or a fault of ours: it is one site's, and others go on.
        _ => ("the shared store cannot do this", "", false),
    }
}
