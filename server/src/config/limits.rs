//! The `limits` of a policy as they are typed, in a manifest or in the operator's chain.

use super::{
    ConfigErrors,
    document::Section,
    units::{positive, size},
};
use std::time::Duration;
use wasmserve_policy::Limits;

/// The ceilings that were given; the others stay as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GivenLimits {
    /// `running`: time that a call may run, such as `"20ms"`; waiting does not count. Beyond, 503. Default: `"20ms"`.
    running: Option<Duration>,
    /// `wall`: time from a call to its end, waiting included. Beyond, 503. Default: `"1s"`.
    wall: Option<Duration>,
    /// `configure`: time that `configure` may run. Default: `"1s"`.
    configure: Option<Duration>,
    /// `memory`: most bytes of linear memory. Default: `"16MiB"`.
    memory: Option<usize>,
    /// `answers`: most bytes that answers to the questions of one call may have. Default: `"1MiB"`.
    answers: Option<usize>,
    /// `concurrent`: calls under way at once; further ones wait within their wall time. Default: `64`.
    concurrent: Option<usize>,
}

impl GivenLimits {
    /// Reads a `limits` table.
    pub fn read(mut section: Section<'_>, errors: &mut ConfigErrors) -> Self {
        let given = Self {
            running: section.parsed("running", positive, errors),
            wall: section.parsed("wall", positive, errors),
            configure: section.parsed("configure", positive, errors),
            memory: section.parsed("memory", memory_size, errors),
            answers: section.parsed("answers", memory_size, errors),
            concurrent: section.count("concurrent", errors),
        };
        section.finish(errors);
        given
    }

    /// These ceilings where they are given, the others from `base`.
    pub fn over(&self, base: &Limits) -> Limits {
        Limits {
            running: self.running.unwrap_or(base.running),
            wall: self.wall.unwrap_or(base.wall),
            configure: self.configure.unwrap_or(base.configure),
            memory: self.memory.unwrap_or(base.memory),
            answers: self.answers.unwrap_or(base.answers),
            concurrent: self.concurrent.unwrap_or(base.concurrent),
        }
    }
}

/// A WebAssembly memory of 32-bit addresses has 4 GiB at most.
pub fn memory_size(text: &str) -> Result<usize, String> {
    match usize::try_from(size(text)?) {
        Ok(bytes) if (1..=4 << 30).contains(&bytes) => Ok(bytes),
        _ => Err("must be between 1B and 4GiB".into()),
    }
}
