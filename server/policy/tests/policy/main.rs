//! The policy host from outside: guests of a few lines, and what the chain makes of them.
//!
//! What a kept decision stands on, and the test that would fall with it:
//!
//! | | |
//! |---|---|
//! | a kept decision equals a fresh one | `differential::a_kept_decision_equals_a_fresh_one` |
//! | no handle is captured | `snapshot::a_guest_that_prints_in_configure_is_not_captured` |
//! | nor chance or time | `snapshot::chance_in_configure_is_not_captured_and_nothing_of_it_is_kept` |
//! | nor tables | `ahead::each_instance_is_called_once_and_another_is_made` |
//! | a long `configure` can be captured | `snapshot::a_configure_of_many_ticks_is_captured` |
//! | every call starts from the configured state | `snapshot::every_call_starts_from_the_configured_state` |
//! | a seed is one per load, on disk too | `snapshot::a_seed_is_one_per_load`, `code::a_state_that_saw_the_seed_is_not_found_again` |
//! | log lines are written again | `evidence::the_lines_of_a_decision_are_written_each_time_it_is_used` |
//! | no memory of another call is left | `host::tests::swap_is_seen`, `faults::one_call_does_not_see_what_another_left_behind` |
//! | growth that fails traps | `faults::memory_that_would_grow_beyond_the_limit_traps` |
//! | machines do not differ | `load::instructions_that_may_differ_between_machines_are_refused` |
//! | the clock stands still | `chain::the_clock_of_a_request_stands_still` |
//! | questions and bytes are capped | `evidence::what_must_not_be_kept_is_not`, `faults::answers_have_a_ceiling_of_bytes` |
//! | answers are kept as keyed hashes | `evidence::tests::fingerprints_need_the_key_and_hold_no_text` |
//! | what is asked once does not push out what is used | `evidence::tests::a_flood_of_what_is_seen_once_does_not_push_out_what_is_used` |
//! | a contradiction is noticed | `evidence::tests::a_contradiction_ends_the_keeping_of_that_policy_alone` |
//! | nothing is shared between chains | `evidence::nothing_is_shared_between_chains` |
//! | a module without metadata is no policy | `load::what_is_no_policy_is_refused_by_name` |
//! | many states are bounded, and come back | `snapshot::of_many_configurations_those_in_use_are_captured` |
mod guest;
mod harness;

mod admission;
mod ahead;
mod chain;
mod code;
mod differential;
mod evidence;
mod explain;
mod fair_share;
mod faults;
mod load;
mod logs;
mod replay;
mod reuse;
mod shadow;
mod snapshot;
