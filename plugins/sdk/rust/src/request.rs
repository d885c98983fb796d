//! [`Request`]: the questions that a policy may ask.
#[cfg(target_family = "wasm")]
use crate::bindings::wasmserve::policy::{clock, request as questions};
#[cfg(not(target_family = "wasm"))]
use crate::testing::questions::{self, clock};
use crate::{Network, Pattern, covers};

/// The request that is being decided.
///
/// Nothing of the request is handed over: each method asks the server. **What you ask is what your decision depends on.**
/// The server keeps the questions, their answers and the decision, and does not run the policy again for requests that
/// would answer the same. So ask as little as decides, ask the narrowest question ([`cookie`](Self::cookie) rather than
/// `header("cookie")`, [`client_within`](Self::client_within) rather than [`client_address`](Self::client_address),
/// [`before`](Self::before) rather than [`now`](Self::now)), and ask it only on the branch that needs it.
///
/// Request headers that were asked add themselves to `Vary`; credentials, cookies and the client's address make the
/// response private to this client (see [`Sharing`](crate::Sharing)).
///
/// Answers do not change while a request is being decided.
#[derive(Debug)]
pub struct Request(());

impl Request {
    pub(crate) fn new() -> Self {
        Self(())
    }

    /// The method as sent, case-sensitive (RFC 9110, section 9.1), such as `GET`.
    pub fn method(&self) -> String {
        questions::method()
    }

    /// The path that the client asked for, in canonical form: percent-decoded once, begins with `/`, no empty, `.` or `..`
    /// segment, no control character, no backslash. One trailing `/` is kept and means a directory.
    ///
    /// A guard must look at the [`targets`](Self::targets) as well: see [`reaches`](Self::reaches).
    pub fn path(&self) -> String {
        questions::path()
    }

    /// The paths that the request is mapped to so far, most wanted first: the [`path`](Self::path) alone until an earlier
    /// policy of the chain gave others. One of these is what will be served.
    pub fn targets(&self) -> Vec<String> {
        questions::targets()
    }

    /// Whether the path, or anything that it is mapped to so far, is `prefix` or beneath it: what a guard asks, because
    /// mapping then cannot lead around it. Whole segments, as [`covers`] compares them.
    pub fn reaches(&self, prefix: &str) -> bool {
        self.reaches_any(&[prefix])
    }

    /// Whether the request [`reaches`](Self::reaches) one of these prefixes. Asks the path once, and the targets only when
    /// the path is beneath none.
    pub fn reaches_any(&self, prefixes: &[impl AsRef<str>]) -> bool {
        let covered = |path: &String| prefixes.iter().any(|prefix| covers(prefix.as_ref(), path));
        covered(&self.path()) || self.targets().iter().any(covered)
    }

    /// Whether the path, or anything that it is mapped to so far, matches one of these patterns. As for
    /// [`reaches_any`](Self::reaches_any), the targets are asked only when the path matches none.
    pub fn matches_any(&self, patterns: &[Pattern]) -> bool {
        let matched = |path: &String| patterns.iter().any(|pattern| pattern.matches(path));
        matched(&self.path()) || self.targets().iter().any(matched)
    }

    /// The raw query, without `?`, exactly as sent. `None` when the request has no `?`; `""` when nothing follows it.
    pub fn query(&self) -> Option<String> {
        questions::query()
    }

    /// The first value of a query parameter, decoded as `application/x-www-form-urlencoded` (WHATWG URL, section 5.1).
    pub fn query_parameter(&self, name: &str) -> Option<String> {
        questions::query_parameter(name)
    }

    /// Every value of a query parameter, in order, decoded as by [`query_parameter`](Self::query_parameter).
    pub fn query_parameter_values(&self, name: &str) -> Vec<String> {
        questions::query_parameter_values(name)
    }

    /// A request header by its case-insensitive name. Repeated fields are joined by `, ` (`cookie`: by `; `). Bytes that
    /// are not UTF-8 become U+FFFD: a field that is there is never hidden.
    pub fn header(&self, name: &str) -> Option<String> {
        questions::header(name)
    }

    /// Every value of a request header in the order received, as the bytes that were sent.
    pub fn header_values(&self, name: &str) -> Vec<Vec<u8>> {
        questions::header_values(name)
    }

    /// The value of the first cookie of this name (RFC 6265, section 5.4), without surrounding quotes, not decoded.
    pub fn cookie(&self, name: &str) -> Option<String> {
        questions::cookie(name)
    }

    /// `http` or `https`: how the client reached the server.
    pub fn scheme(&self) -> String {
        questions::scheme()
    }

    /// The host that the client named: lower case, without a port and without a final dot.
    pub fn host(&self) -> String {
        questions::host()
    }

    /// The name of the configured site that serves the request.
    pub fn site(&self) -> String {
        questions::site()
    }

    /// The client's address in the form of RFC 5952, IPv4-mapped addresses as IPv4; `None` on a Unix socket. Every client
    /// is then decided anew: prefer [`client_within`](Self::client_within).
    pub fn client_address(&self) -> Option<String> {
        questions::client_address()
    }

    /// Whether the client's address lies within a block such as `10.0.0.0/8`, `2001:db8::/32` or a single address. `false`
    /// on a Unix socket. Traps when `cidr` is neither, because a mistyped network must not silently admit or refuse.
    pub fn client_within(&self, cidr: &str) -> bool {
        questions::client_within(cidr)
    }

    /// Whether the client's address lies within one of these. Asks them in order until one holds the address.
    pub fn client_within_any(&self, networks: &[Network]) -> bool {
        networks.iter().any(|network| self.client_within(network.as_ref()))
    }

    /// What an earlier policy of the chain established about the request, such as `user`, or what the server knows (names
    /// that begin with `wasmserve.` or `tls.`). Traps unless the manifest's `facts.reads` lists the name.
    pub fn fact(&self, name: &str) -> Option<String> {
        questions::fact(name)
    }

    /// When the request arrived, in seconds since 1970-01-01T00:00:00Z. A decision that asked this is never reused:
    /// prefer [`before`](Self::before).
    pub fn now(&self) -> u64 {
        clock::now()
    }

    /// Whether the request arrived before this moment, in seconds since 1970-01-01T00:00:00Z. The decision is reused for as
    /// long as the answer stays the same, and caches keep the response no longer than until then.
    pub fn before(&self, unix_seconds: u64) -> bool {
        clock::before(unix_seconds)
    }
}
