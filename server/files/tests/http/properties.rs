//! Short runs of what `tests/fuzz` runs for hours: seeded, so that a failure can be repeated.
use crate::oracle::CHECKS;
use std::collections::BTreeMap;

/// Bytes of SplitMix64.
fn bytes(seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = state;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    };
    (0..16).flat_map(|_| next().to_le_bytes()).collect()
}

#[track_caller]
fn holds(name: &str) {
    let check = CHECKS
        .iter()
        .find(|check| check.name == name)
        .expect("a check of that name");
    let mut seen: BTreeMap<&str, u64> = check.outcomes.iter().map(|outcome| (*outcome, 0)).collect();
    for seed in 0..check.runs {
        let Ok(outcome) = std::panic::catch_unwind(|| (check.run)(&bytes(seed))) else {
            panic!("{name} fails with seed {seed}");
        };
        *seen.get_mut(outcome).expect("an outcome that is listed") += 1;
    }
    // Agreement about one kind of request alone would prove little.
    assert!(
        seen.values().all(|count| *count >= check.runs / 100),
        "{name} hardly tries some outcomes: {seen:?}"
    );
}

#[test]
fn paths_are_read_as_the_reference_does() {
    holds("path");
}

#[test]
fn ranges_are_read_as_the_reference_does() {
    holds("range");
}

#[test]
fn preconditions_are_evaluated_as_the_reference_does() {
    holds("preconditions");
}

#[test]
fn accept_encoding_is_ranked_as_the_reference_does() {
    holds("accept_encoding");
}

#[test]
fn dispositions_are_understood_as_they_were_meant() {
    holds("disposition");
}

#[test]
fn listings_show_what_is_there_and_nothing_else() {
    holds("listing");
}
