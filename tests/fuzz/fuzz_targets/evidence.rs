//! A kept decision is what the policy decides anew.
//!
//! These are the very files of the policy crate, without what needs a WebAssembly engine: that crate as a whole would be
//! wasmtime with the fuzzer's instrumentation. In place of a decision there is a number.
#![no_main]
#![allow(unused_imports, reason = "the crate's own parts are not all used here")]

#[path = "../../../server/policy/src/dependence.rs"]
mod dependence;
#[path = "../../../server/policy/src/evidence/mod.rs"]
mod evidence;
#[path = "../../../server/policy/src/evidence/tests/model.rs"]
mod model;
#[path = "../../../server/policy/src/questions.rs"]
mod questions;
#[path = "../../../server/policy/src/recorder.rs"]
mod recorder;
#[path = "../../../server/policy/src/request.rs"]
mod request;
#[path = "../../../server/policy/src/withheld.rs"]
mod withheld;

use decided::Decided;
use recorder::Recorder;
use request::Request;
use std::sync::Arc;

mod counters {
    /// The room that kept decisions take.
    pub struct Room {
        pub bytes: usize,
        pub decisions: usize,
    }
}

mod decided {
    use crate::dependence::Dependence;
    use std::sync::Arc;

    /// What a decision has to have to be kept.
    #[derive(Debug, PartialEq)]
    pub struct Decided {
        pub decision: u16,
        pub dependence: Arc<Dependence>,
        pub facts: Vec<String>,
    }

    impl Decided {
        pub fn weight(&self) -> usize {
            size_of::<Self>() + self.facts.iter().map(String::len).sum::<usize>()
        }
    }
}

fn decided_as(number: u16, recorder: &Recorder) -> Arc<Decided> {
    Arc::new(Decided {
        decision: number,
        dependence: Arc::new(recorder.dependence.clone()),
        facts: recorder.facts.clone(),
    })
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    model::check(data);
});
