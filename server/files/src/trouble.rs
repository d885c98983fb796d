//! Why something cannot be given: what the operating system said, sorted by what the client is told.
use crate::store::StoreError;
use http::StatusCode;
use rustix::io::Errno;
use std::time::Duration;

/// Why a path led to nothing that can be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Nothing is there that may be known of.
    NotThere,
    /// The server may not read it: 403.
    Forbidden,
    /// Descriptors or memory are used up: 503.
    Exhausted,
    /// Too many wait already, or somebody renames faster than we can look: 503.
    Busy,
    /// Something is broken and the log says what: 500.
    Broken,
    /// A store failed and the log says how: 502.
    StoreBroken,
    /// A store took too long: 504.
    StoreSlow,
    /// The calling thread would have to wait. Seen only by those who asked not to; never the end of a search.
    WouldBlock,
}

/// How long a client is asked to wait after a 503. Descriptors come back as downloads end.
const RETRY_AFTER: Duration = Duration::from_secs(2);

impl Trouble {
    /// Sorts an error of opening or reading. `Broken` for whatever has no meaning of its own.
    pub(crate) fn of(errno: Errno) -> Self {
        match errno {
            // EXDEV: a link or `..` leads out of the root. ELOOP: a link where none is followed, or too many.
            // ENXIO, ENODEV: a special file without anybody behind it.
            Errno::NOENT
            | Errno::NOTDIR
            | Errno::LOOP
            | Errno::NAMETOOLONG
            | Errno::XDEV
            | Errno::NXIO
            | Errno::NODEV
            | Errno::ILSEQ => Self::NotThere,
            Errno::ACCESS | Errno::PERM => Self::Forbidden,
            Errno::MFILE | Errno::NFILE | Errno::NOMEM => Self::Exhausted,
            Errno::AGAIN => Self::WouldBlock,
            _ => Self::Broken,
        }
    }

    /// What the client is told of a trouble that ends the search.
    pub(crate) fn answer(self) -> (StatusCode, Option<Duration>) {
        match self {
            Self::NotThere => (StatusCode::NOT_FOUND, None),
            Self::Forbidden => (StatusCode::FORBIDDEN, None),
            Self::Exhausted | Self::Busy | Self::WouldBlock => (StatusCode::SERVICE_UNAVAILABLE, Some(RETRY_AFTER)),
            Self::Broken => (StatusCode::INTERNAL_SERVER_ERROR, None),
            Self::StoreBroken => (StatusCode::BAD_GATEWAY, None),
            Self::StoreSlow => (StatusCode::GATEWAY_TIMEOUT, None),
        }
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotThere => Self::NotThere,
            // Somebody replaces it faster than we can look.
            StoreError::Changed | StoreError::Busy => Self::Busy,
            StoreError::Slow => Self::StoreSlow,
            StoreError::Denied | StoreError::Broken => Self::StoreBroken,
        }
    }
}
