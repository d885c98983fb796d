//! What is written down, and what a count is beside it.
use crate::driver::Way;
use serde::Deserialize;
use std::{fmt, fs};

pub const FILE: &str = "server/tests/instructions/baseline.toml";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    /// Shares by which a count, or a ratio of two counts, may be above what is written down.
    tolerance: f64,
    ratio_tolerance: f64,
    /// Instructions of a request.
    off: f64,
    kept: f64,
    fresh: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    AsBefore,
    /// By more than the tolerance.
    Slower,
    /// By more than the tolerance: what is written down may be lowered.
    Faster,
}

/// One figure beside what is written down.
#[derive(Debug)]
pub struct Comparison {
    what: String,
    found: f64,
    expected: f64,
    pub verdict: Verdict,
}

// === impl Baseline ===

impl Baseline {
    pub fn read() -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/instructions/baseline.toml");
        let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"));
        toml::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    pub fn tolerance(&self) -> f64 {
        self.tolerance
    }

    pub fn of(&self, way: Way) -> f64 {
        match way {
            Way::Off => self.off,
            Way::Kept => self.kept,
            Way::Fresh => self.fresh,
        }
    }

    /// Every count, and of what policies cost the ratio to no policies: it does not depend on the compiler as much.
    pub fn compare(&self, counts: &[(Way, f64)]) -> Vec<Comparison> {
        let off = counts.iter().find(|(way, _)| *way == Way::Off);
        let mut found = Vec::new();
        for (way, count) in counts {
            let what = format!("instructions of a request, {}", way.name());
            found.push(Comparison::new(what, *count, self.of(*way), self.tolerance));
            if let Some((_, off)) = off.filter(|(way_off, _)| way_off != way) {
                let what = format!("the same as a multiple of {}", Way::Off.name());
                let (ratio, expected) = (count / off, self.of(*way) / self.off);
                found.push(Comparison::new(what, ratio, expected, self.ratio_tolerance));
            }
        }
        found
    }
}

// === impl Comparison ===

impl Comparison {
    fn new(what: String, found: f64, expected: f64, tolerance: f64) -> Self {
        let verdict = match found / expected {
            share if share > 1.0 + tolerance => Verdict::Slower,
            share if share < 1.0 - tolerance => Verdict::Faster,
            _ => Verdict::AsBefore,
        };
        Self {
            what,
            found,
            expected,
            verdict,
        }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = if self.expected < 100.0 { 2 } else { 0 };
        let share = (self.found / self.expected - 1.0) * 100.0;
        write!(
            f,
            "{}: {:.digits$}, written down {:.digits$} ({share:+.1} %): {:?}",
            self.what, self.found, self.expected, self.verdict
        )
    }
}

#[test]
fn a_count_is_judged_by_the_tolerance_and_a_ratio_by_its_own() {
    let baseline = Baseline {
        tolerance: 0.1,
        ratio_tolerance: 0.05,
        off: 1000.0,
        kept: 2000.0,
        fresh: 10_000.0,
    };
    for (off, kept, fresh, expected) in [
        (1000.0, 2000.0, 10_000.0, [Verdict::AsBefore; 5]),
        (1090.0, 2180.0, 10_900.0, [Verdict::AsBefore; 5]),
        (1110.0, 2220.0, 11_100.0, {
            let (slower, before) = (Verdict::Slower, Verdict::AsBefore);
            [slower, slower, before, slower, before]
        }),
        (1000.0, 2190.0, 8900.0, {
            let (slower, before, faster) = (Verdict::Slower, Verdict::AsBefore, Verdict::Faster);
            [before, before, slower, faster, faster]
        }),
    ] {
        let counts = [(Way::Off, off), (Way::Kept, kept), (Way::Fresh, fresh)];
        let verdicts: Vec<Verdict> = baseline.compare(&counts).iter().map(|line| line.verdict).collect();
        assert_eq!(verdicts, expected, "{counts:?}");
    }
}
