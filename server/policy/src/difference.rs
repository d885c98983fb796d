//! In what two decisions about one request differ, for an operator's log: which parts, never their values.
use crate::{
    decided::Decided,
    decision::{Changes, Decision, HeaderChange, Respond},
};
use std::collections::BTreeSet;

/// Empty: they lead to the same answer.
pub(crate) fn differences(live: &Decided, candidate: &Decided) -> Vec<String> {
    let mut found = match (&live.decision, &candidate.decision) {
        (Decision::Proceed(live), Decision::Proceed(candidate)) => of_changes(live, candidate),
        (Decision::Respond(live), Decision::Respond(candidate)) => of_responses(live, candidate),
        _ => vec![format!("{}; it {}", in_a_word(live), in_a_word(candidate))],
    };
    let asked = |decided: &Decided| decided.facts.iter().cloned().collect::<BTreeSet<_>>();
    if live.dependence != candidate.dependence || asked(live) != asked(candidate) {
        found.push("what caches are told".into());
    }
    found
}

/// What a decision does.
pub(crate) fn in_a_word(decided: &Decided) -> String {
    match &decided.decision {
        Decision::Proceed(_) => "proceeds".into(),
        Decision::Respond(response) => format!("responds {}", response.status.as_u16()),
    }
}

fn of_changes(live: &Changes, candidate: &Changes) -> Vec<String> {
    let parts = [
        ("paths", live.paths == candidate.paths),
        ("place", live.place == candidate.place),
        ("missing", live.missing == candidate.missing),
        ("pace", live.pace == candidate.pace),
        ("sharing", live.sharing == candidate.sharing),
    ];
    let mut found: Vec<String> = different(&parts);
    let named = |changes: &[HeaderChange]| -> Vec<String> { changes.iter().map(|c| c.name.to_string()).collect() };
    if live.headers != candidate.headers {
        let same = |name: &str| {
            let of = |changes: &Changes| -> Vec<String> {
                let all = changes.headers.iter().filter(|change| change.name.as_str() == name);
                all.map(|change| format!("{change:?}")).collect()
            };
            of(live) == of(candidate)
        };
        found.push(names("header", named(&live.headers), named(&candidate.headers), same));
    }
    if live.facts != candidate.facts {
        let same = |name: &str| {
            let of = |changes: &Changes| -> Vec<String> {
                let all = changes.facts.iter().filter(|(fact, _)| fact == name);
                all.map(|(_, value)| value.clone()).collect()
            };
            of(live) == of(candidate)
        };
        let named = |changes: &Changes| changes.facts.iter().map(|(name, _)| name.clone()).collect();
        found.push(names("fact", named(live), named(candidate), same));
    }
    found
}

fn of_responses(live: &Respond, candidate: &Respond) -> Vec<String> {
    let mut found = Vec::new();
    if live.status != candidate.status {
        found.push(format!(
            "status {} becomes {}",
            live.status.as_u16(),
            candidate.status.as_u16()
        ));
    }
    if live.headers != candidate.headers {
        let named = |response: &Respond| response.headers.keys().map(ToString::to_string).collect();
        let same = |name: &str| live.headers.get_all(name).iter().eq(candidate.headers.get_all(name));
        found.push(names("header", named(live), named(candidate), same));
    }
    found.extend(different(&[
        ("body", live.body == candidate.body),
        ("sharing", live.sharing == candidate.sharing),
    ]));
    found
}

fn different(parts: &[(&str, bool)]) -> Vec<String> {
    let parts = parts.iter().filter(|(_, same)| !same);
    parts.map(|(name, _)| (*name).to_owned()).collect()
}

/// The names that differ; their order, when nothing else does.
fn names(what: &str, live: Vec<String>, candidate: Vec<String>, same: impl Fn(&str) -> bool) -> String {
    let all: BTreeSet<String> = live.into_iter().chain(candidate).collect();
    let other: Vec<String> = all.into_iter().filter(|name| !same(name)).collect();
    match other.is_empty() {
        true => format!("order of {what}s"),
        false => format!("{what} {}", other.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        bindings::exports::wasmserve::policy::guest,
        decision::{Rules, Sharing},
        dependence::Dependence,
        grants::Grants,
    };
    use http::{HeaderMap, HeaderValue, StatusCode, header};
    use std::sync::Arc;

    fn decided(decision: Decision) -> Decided {
        Decided {
            decision,
            dependence: Arc::default(),
            facts: Vec::new(),
            said: None,
        }
    }

    /// A decision to proceed, as a guest would have returned it.
    fn proceeding(paths: &[&str], headers: &[(&str, &str)], facts: &[(&str, &str)]) -> Decided {
        let headers = headers.iter().map(|(name, value)| guest::HeaderChange {
            operation: guest::HeaderOperation::Set,
            name: (*name).into(),
            value: (*value).into(),
            when: guest::Outcomes::empty(),
            types: Vec::new(),
        });
        let changes = guest::Changes {
            paths: paths.iter().map(|path| (*path).into()).collect(),
            place: None,
            missing: None,
            headers: headers.collect(),
            facts: facts
                .iter()
                .map(|(name, value)| ((*name).into(), (*value).into()))
                .collect(),
            sharing: guest::Sharing::Derived,
            pace: None,
        };
        let rules = Rules {
            roots: BTreeSet::new(),
            establishes: ["user".to_owned(), "tier".to_owned()].into(),
            grants: Grants::default(),
        };
        decided(Decision::check(guest::Decision::Proceed(changes), &rules).expect("well formed"))
    }

    fn responding(status: u16, cookie: &'static str, body: &'static str) -> Decided {
        decided(Decision::Respond(Respond {
            status: StatusCode::from_u16(status).expect("a status"),
            headers: HeaderMap::from_iter([(header::SET_COOKIE, HeaderValue::from_static(cookie))]),
            body: body.into(),
            sharing: Sharing::Derived,
        }))
    }

    #[test]
    fn parts_are_named_and_values_are_not() {
        let plain = || proceeding(&[], &[], &[]);
        for (live, candidate, expected) in [
            (plain(), plain(), &[][..]),
            (plain(), responding(403, "a", ""), &["proceeds; it responds 403"]),
            (
                proceeding(&["/a"], &[("x-a", "1"), ("x-b", "1")], &[("user", "ada")]),
                proceeding(
                    &["/b"],
                    &[("x-a", "1"), ("x-b", "2")],
                    &[("user", "eve"), ("tier", "1")],
                ),
                &["paths", "header x-b", "fact tier, user"],
            ),
            (
                proceeding(&[], &[("x-a", "1"), ("x-b", "1")], &[]),
                proceeding(&[], &[("x-b", "1"), ("x-a", "1")], &[]),
                &["order of headers"],
            ),
            (
                responding(401, "a=s3cret", "no"),
                responding(403, "b=s3cret", "never"),
                &["status 401 becomes 403", "header set-cookie", "body"],
            ),
        ] {
            assert_eq!(differences(&live, &candidate), expected);
        }
    }

    #[test]
    fn what_a_cache_may_do_is_a_part() {
        let live = proceeding(&[], &[], &[]);
        let dependence = Dependence {
            private: true,
            ..Dependence::default()
        };
        let candidate = Decided {
            dependence: Arc::new(dependence),
            ..proceeding(&[], &[], &[])
        };
        assert_eq!(differences(&live, &candidate), ["what caches are told"]);
    }
}
