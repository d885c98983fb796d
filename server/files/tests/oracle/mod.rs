//! Second readings of the RFCs, to hold the crate's own against: literal, slow, and built in another way on purpose.
//!
//! Each `check` makes a request from arbitrary bytes and panics where the two readings differ. They are run twice: by the
//! properties of this crate's tests with seeded bytes, and by the fuzz targets in `tests/fuzz` with libFuzzer's.
pub mod accept_encoding;
pub mod date;
pub mod disposition;
pub mod entity_tag;
pub mod html;
pub mod input;
pub mod listing;
pub mod path;
pub mod preconditions;
pub mod range;

/// A check, and the names of all outcomes it can report: a run of the properties must have seen each.
#[allow(dead_code, reason = "a fuzz target needs no more than the function of one")]
pub struct Check {
    pub name: &'static str,
    pub run: fn(&[u8]) -> &'static str,
    pub outcomes: &'static [&'static str],
    /// Seeded inputs in a run of the properties; a few seconds without optimization.
    pub runs: u64,
}

#[allow(dead_code, reason = "a fuzz target needs no more than the function of one")]
pub const CHECKS: &[Check] = &[
    Check {
        name: "accept_encoding",
        run: accept_encoding::check,
        outcomes: &["br", "zstd", "gzip", "identity", "nothing"],
        runs: 10_000,
    },
    Check {
        name: "disposition",
        run: disposition::check,
        outcomes: &["plain", "extended", "refused"],
        runs: 10_000,
    },
    Check {
        name: "listing",
        run: listing::check,
        outcomes: &["all", "some", "nothing"],
        // Each makes a directory.
        runs: 2000,
    },
    Check {
        name: "path",
        run: path::check,
        outcomes: &["within", "elsewhere", "refused"],
        runs: 10_000,
    },
    Check {
        name: "preconditions",
        run: preconditions::check,
        outcomes: &["200", "206", "304", "412", "416"],
        runs: 10_000,
    },
    Check {
        name: "range",
        run: range::check,
        outcomes: &["whole", "one", "several", "nothing"],
        runs: 10_000,
    },
];
