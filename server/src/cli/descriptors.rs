//! How the descriptors that the process may have are shared out, so that clients cannot use up those that files need.

use rustix::process::{Resource, getrlimit, setrlimit};

/// The limit of open files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptors(usize);

/// For listeners, the runtime, roots and what policies place requests in; where that would leave little for clients, two
/// fifths of all: with 256 in all, one client that is slow must not keep out every other.
const RESERVED: usize = 400;

/// A connection holds a socket and, while it sends, a file.
const A_CONNECTION: usize = 2;

// === impl Descriptors ===

impl Descriptors {
    /// Raises the soft limit to the hard one. The soft one is kept low for programs that use select(2), which this is not.
    pub fn raise() -> Self {
        let mut limit = getrlimit(Resource::Nofile);
        let before = limit.current;
        limit.current = limit.maximum;
        let current = if setrlimit(Resource::Nofile, limit).is_ok() {
            limit.maximum
        } else {
            before
        };
        Self(current.and_then(|count| count.try_into().ok()).unwrap_or(usize::MAX))
    }

    /// The most files that may be kept open for the next request: a quarter of all.
    pub fn cached_files(self) -> usize {
        self.0 / 4
    }

    /// The most connections that may all send a file at once, at least one.
    pub fn connections(self) -> usize {
        (self.sockets() / A_CONNECTION).max(1)
    }

    /// The most connections that an operator may ask for, at least one: most of them wait, and hold a socket alone. Where
    /// they do not, files that cannot be opened are answered with 503.
    pub fn sockets(self) -> usize {
        let free = self.0 - RESERVED.min(self.0 / 5 * 2);
        (free - free / 4).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_and_cached_files_fit_the_limit() {
        for limit in [1, 256, 1024, 4096, 1 << 20] {
            let descriptors = Descriptors(limit);
            let held = descriptors.connections() * A_CONNECTION + descriptors.cached_files();
            assert!(held <= limit.max(A_CONNECTION), "{limit}");
        }
        assert_eq!(Descriptors(1024).connections(), 234);
        assert_eq!((Descriptors(256).connections(), Descriptors(256).sockets()), (58, 116));
        assert!(Descriptors(usize::MAX).connections() > 1 << 40);
    }
}
