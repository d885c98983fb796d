mod model;

use super::*;
use crate::{
    decision::{Decision, Respond, Sharing},
    dependence::Dependence,
    questions::Answer,
    recorder::Recorder,
};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};

fn decided(status: u16) -> Arc<Decided> {
    decided_by(status, Dependence::default(), Vec::new())
}

/// What was decided by what a call asked.
fn decided_as(status: u16, recorder: &Recorder) -> Arc<Decided> {
    decided_by(status, recorder.dependence.clone(), recorder.facts.clone())
}

fn decided_by(status: u16, dependence: Dependence, facts: Vec<String>) -> Arc<Decided> {
    let respond = Respond {
        status: StatusCode::from_u16(status).unwrap(),
        headers: HeaderMap::new(),
        body: Bytes::new(),
        sharing: Sharing::Derived,
    };
    Arc::new(Decided {
        decision: Decision::Respond(respond),
        dependence: Arc::new(dependence),
        facts,
        said: None,
    })
}

/// Evidence of the questions `path`, then `query`, whose answers are numbers here.
fn trace(key: &Key, answers: &[u32]) -> Vec<(Question, Fingerprint)> {
    let questions = [Question::Path, Question::Query, Question::Method];
    let answers = answers.iter().map(|answer| key.text(&answer.to_string()));
    questions.into_iter().zip(answers).collect()
}

fn evidence(limit: usize) -> (Evidence, Key) {
    let key = Key::random();
    (Evidence::new(key.clone(), limit, &[true, true]), key)
}

/// The status that was kept for some answers.
fn found(evidence: &Evidence, key: &Key, policy: usize, answers: &[u32]) -> Option<u16> {
    let store = evidence.store.read().unwrap();
    let mut answers = answers.iter();
    let leaf = store
        .trie
        .find(policy, |_| key.text(&answers.next().unwrap().to_string()))?;
    leaf.touch(evidence.turn.load(Ordering::Relaxed));
    match &leaf.decided.decision {
        Decision::Respond(response) => Some(response.status.as_u16()),
        Decision::Proceed(_) => None,
    }
}

#[test]
fn answers_of_different_shapes_have_different_fingerprints() {
    let key = Key::random();
    let list = |texts: &[&'static str]| Answer::Texts(texts.iter().map(|text| (*text).into()).collect());
    let answers = [
        Answer::Optional(None),
        Answer::Optional(Some("".into())),
        Answer::Text("".into()),
        Answer::Text("a".into()),
        Answer::Optional(Some("a".into())),
        list(&[]),
        list(&[""]),
        list(&["", ""]),
        list(&["ab"]),
        list(&["a", "b"]),
        Answer::Values(vec![]),
        Answer::Values(vec![b"ab"]),
        Answer::Values(vec![b"a", b"b"]),
        Answer::Flag(false),
        Answer::Flag(true),
    ];
    for (i, one) in answers.iter().enumerate() {
        for (j, other) in answers.iter().enumerate() {
            assert_eq!(
                key.fingerprint(one) == key.fingerprint(other),
                i == j,
                "{one:?} {other:?}"
            );
        }
    }
}

#[test]
fn fingerprints_need_the_key_and_hold_no_text() {
    let answer = Answer::Text("secret token".into());
    let (one, other) = (Key::random(), Key::random());
    let [a, b] = one.fingerprint(&answer).halves();
    assert_ne!(one.fingerprint(&answer), other.fingerprint(&answer));
    assert_ne!(a, b);
    assert!(!format!("{:?}", one.fingerprint(&answer)).contains("secret"));
}

#[test]
fn each_policy_has_its_own() {
    let (evidence, key) = evidence(1 << 20);
    assert_eq!(evidence.keep(0, &trace(&key, &[1, 2]), &decided(200)), Keeping::Kept);
    assert_eq!(found(&evidence, &key, 0, &[1, 2]), Some(200));
    assert_eq!(found(&evidence, &key, 0, &[1, 3]), None);
    assert_eq!(found(&evidence, &key, 1, &[1, 2]), None);
    let off = Evidence::new(key.clone(), 1 << 20, &[false]);
    assert_eq!(off.keep(0, &trace(&key, &[1, 2]), &decided(200)), Keeping::Declined);
}

/// The tripwire: the same answers, and something else came of them.
#[test]
fn a_contradiction_ends_the_keeping_of_that_policy_alone() {
    let contradictions: [(&[u32], u16); 4] = [(&[1, 2], 403), (&[1], 200), (&[1, 2, 3], 200), (&[], 200)];
    for (answers, status) in contradictions {
        let (evidence, key) = evidence(1 << 20);
        evidence.keep(1, &trace(&key, &[7]), &decided(204));
        evidence.keep(0, &trace(&key, &[1, 2]), &decided(200));
        evidence.keep(0, &trace(&key, &[5, 2]), &decided(200));
        assert_eq!(
            evidence.keep(0, &trace(&key, &[1, 2]), &decided(200)),
            Keeping::Kept,
            "the same again"
        );
        assert_eq!(
            evidence.keep(0, &trace(&key, answers), &decided(status)),
            Keeping::Tripped,
            "{answers:?}"
        );
        assert!(!evidence.keeps(0) && evidence.keeps(1));
        assert_eq!(
            (found(&evidence, &key, 0, &[1, 2]), found(&evidence, &key, 0, &[5, 2])),
            (None, None)
        );
        assert_eq!(found(&evidence, &key, 1, &[7]), Some(204));
        assert_eq!(
            evidence.keep(0, &trace(&key, &[1, 2]), &decided(200)),
            Keeping::Declined
        );
        let Room {
            bytes,
            decisions: count,
        } = evidence.room();
        assert_eq!(count, 1);
        // Nothing of it is left: what remains is what the other policy takes.
        let (other, key) = super::tests::evidence(1 << 20);
        other.keep(1, &trace(&key, &[7]), &decided(204));
        assert_eq!(bytes, other.room().bytes);
    }
}

#[test]
fn another_question_after_the_same_answers_is_a_contradiction() {
    let (evidence, key) = evidence(1 << 20);
    evidence.keep(0, &trace(&key, &[1, 2]), &decided(200));
    let mut other = trace(&key, &[1, 3]);
    other[1].0 = Question::Host;
    assert_eq!(evidence.keep(0, &other, &decided(200)), Keeping::Tripped);
}

#[test]
fn bytes_are_bounded_and_all_of_them_come_back() {
    let (evidence, key) = evidence(64 << 10);
    for i in 0..10_000 {
        evidence.keep(
            usize::from(i % 2 == 0),
            &trace(&key, &[i / 7, i]),
            &decided(200 + u16::try_from(i % 100).unwrap()),
        );
        assert!(evidence.room().bytes <= 64 << 10);
    }
    let Room {
        bytes,
        decisions: count,
    } = evidence.room();
    assert!(bytes > 48 << 10 && count > 50, "{bytes} bytes, {count} decisions");
    let mut store = evidence.store.write().unwrap();
    for policy in 0..2 {
        for mark in store.trie.close(policy) {
            store.release(mark);
        }
    }
    assert_eq!((store.used(), store.decisions.len()), (0, 0));
}

#[test]
fn equal_decisions_are_kept_once() {
    let (evidence, key) = evidence(1 << 20);
    for i in 0..100 {
        evidence.keep(0, &trace(&key, &[i]), &decided(200));
    }
    let store = evidence.store.read().unwrap();
    assert_eq!((store.trie.len(), store.decisions.len()), (100, 1));
    assert_eq!(store.bytes, decided(200).weight());
}

#[test]
fn what_was_used_least_recently_goes_first() {
    let (evidence, key) = evidence(16 << 10);
    let mut kept = 0;
    // Up to the brim, then as many again while the first one is used.
    while evidence.keep(0, &trace(&key, &[kept]), &decided(200)) == Keeping::Kept
        && evidence.room().decisions as u32 == kept + 1
    {
        kept += 1;
    }
    for i in 0..kept {
        assert_eq!(found(&evidence, &key, 0, &[0]), Some(200), "{i} of {kept}");
        evidence.keep(0, &trace(&key, &[1_000_000 + i]), &decided(200));
    }
    let old = (1..kept).filter(|i| found(&evidence, &key, 0, &[*i]).is_some()).count();
    assert!(
        old < kept as usize / 4,
        "{old} of {kept} that nobody used are still there"
    );
}

/// TinyLFU: what is asked for again is not pushed out by what is asked for once.
#[test]
fn a_flood_of_what_is_seen_once_does_not_push_out_what_is_used() {
    let (evidence, key) = evidence(16 << 10);
    let used: Vec<u32> = (0..20).collect();
    for answer in &used {
        evidence.keep(0, &trace(&key, &[*answer]), &decided(200));
    }
    for _ in 0..10 {
        assert!(
            used.iter()
                .all(|answer| found(&evidence, &key, 0, &[*answer]).is_some())
        );
    }
    for flood in 0..5_000 {
        evidence.keep(0, &trace(&key, &[10_000 + flood]), &decided(200));
        if flood % 20 == 0 {
            for answer in &used {
                found(&evidence, &key, 0, &[*answer]);
            }
        }
    }
    let left = used
        .iter()
        .filter(|answer| found(&evidence, &key, 0, &[**answer]).is_some())
        .count();
    assert_eq!(left, used.len());
}

#[test]
fn a_decision_that_takes_a_large_part_of_the_bound_is_declined() {
    let (evidence, key) = evidence(1 << 10);
    assert_eq!(
        evidence.keep(0, &trace(&key, &[1, 2, 3]), &decided(200)),
        Keeping::Declined
    );
}

#[test]
fn what_is_kept_is_what_a_policy_decides_anew() {
    // xorshift64 (Marsaglia, 2003).
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    let mut total = model::Reached::default();
    for _ in 0..300 {
        let bytes: Vec<u8> = (0..2000).map(|_| byte()).collect();
        let reached = model::check(&bytes);
        total.reused += reached.reused;
        total.kept += reached.kept;
        total.declined += reached.declined;
        total.unrepeatable += reached.unrepeatable;
    }
    // It means nothing unless all of it was reached.
    let model::Reached {
        reused,
        kept,
        declined,
        unrepeatable,
    } = total;
    assert!(
        [reused, kept, declined, unrepeatable]
            .iter()
            .all(|reached| *reached > 500),
        "{total:?}"
    );
}
