//! A kept decision always equals a fresh one: generated policies that ask at random and branch on the answers, random
//! requests, and two chains of the same policies, one of which keeps nothing.
//!
//! `WASMSERVE_PAIRS` says how many decisions are compared (default 20,000) and `WASMSERVE_SEED` repeats a run; see
//! `tests/fuzz/README.md`.
use crate::{
    ahead::uncapturable,
    guest::{Change, Changes, Guest, Reply},
    harness::{Chains, NOW, applied, get},
};
use std::{fmt::Write, sync::Arc};
use wasmserve_policy::{Counts, Request, Reuse};

/// Requests for each generated chain.
const REQUESTS: usize = 2000;

/// xorshift64*: the same run on every machine.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }
    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next()).unwrap() % bound
    }
    fn one_in(&mut self, odds: usize) -> bool {
        self.below(odds) == 0
    }
    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }
}

const HEADERS: &[&str] = &[
    "accept-language",
    "authorization",
    "cookie",
    "origin",
    "x-a",
    "x-b",
    "not a name",
];
const COOKIES: &[&str] = &["session", "theme", "none"];
const PARAMETERS: &[&str] = &["token", "q", ""];
const BLOCKS: &[&str] = &["10.0.0.0/8", "192.0.2.0/24", "2001:db8::/32", "::/0", "10.1.2.3"];
const FACTS: &[&str] = &["user", "group", "tls.name"];
const PATHS: &[&str] = &["/", "/a", "/a/", "/a/b", "/private/x", "/b%20c"];

/// Loops over a list of texts or bytes, and hashes of a whole answer.
const HELPERS: &str = r#"
    (func $hash-optional (result i32)
        (if (result i32) (i32.load8_u (i32.const 64))
            (then (i32.add (i32.const 1) (call $hash (i32.load (i32.const 68)) (i32.load (i32.const 72)))))
            (else (i32.const 7))))
    (func $hash-list (result i32)
        (local $at i32) (local $left i32) (local $sum i32)
        (local.set $at (i32.load (i32.const 64)))
        (local.set $left (i32.load (i32.const 68)))
        (local.set $sum (local.get $left))
        (block $end (loop $next
            (br_if $end (i32.eqz (local.get $left)))
            (local.set $sum (i32.add (i32.mul (local.get $sum) (i32.const 31))
                (call $hash (i32.load (local.get $at)) (i32.load offset=4 (local.get $at)))))
            (local.set $at (i32.add (local.get $at) (i32.const 8)))
            (local.set $left (i32.sub (local.get $left) (i32.const 1)))
            (br $next)))
        (local.get $sum))
    ;; What a call leaves behind: the next one must not find it.
    (func $leak (result i32)
        (i32.store (i32.const 128) (i32.add (i32.const 1) (i32.load (i32.const 128))))
        (global.set $counter (i32.add (global.get $counter) (i32.const 3)))
        (i32.add (i32.load (i32.const 128)) (global.get $counter)))
"#;

/// An expression that asks a question and leaves a number that depends on the answer alone.
fn question(guest: &mut Guest, random: &mut Random) -> String {
    const AREA: &str = "(i32.const 64)";
    const TEXT: &str = "(call $hash (i32.load (i32.const 64)) (i32.load (i32.const 68)))";
    let named = |guest: &mut Guest, function: &str, name: &str, hash: &str| {
        format!("(call ${function} {} {AREA}) (call ${hash})", guest.text(name))
    };
    match random.below(18) {
        0 => format!("(call $request.method {AREA}) {TEXT}"),
        1 | 2 => format!("(call $request.path {AREA}) {TEXT}"),
        3 => format!("(call $request.targets {AREA}) (call $hash-list)"),
        4 => format!("(call $request.query {AREA}) (call $hash-optional)"),
        5 => named(
            guest,
            "request.query-parameter",
            random.pick(PARAMETERS),
            "hash-optional",
        ),
        6 => named(guest, "request.query-values", random.pick(PARAMETERS), "hash-list"),
        7 | 8 => named(guest, "request.header", random.pick(HEADERS), "hash-optional"),
        9 => named(guest, "request.all-values", random.pick(HEADERS), "hash-list"),
        10 => named(guest, "request.cookie", random.pick(COOKIES), "hash-optional"),
        11 => format!(
            "(call $request.{} {AREA}) {TEXT}",
            random.pick(&["scheme", "host", "site"])
        ),
        12 => format!("(call $request.client-address {AREA}) (call $hash-optional)"),
        13 => format!("(call $request.client-within {})", guest.text(random.pick(BLOCKS))),
        14 | 15 => named(guest, "request.fact", random.pick(FACTS), "hash-optional"),
        16 => format!("(call $clock.before (i64.const {}))", NOW + random.next() % 40),
        _ => "(call $leak)".into(),
    }
}

fn reply(random: &mut Random, establishes: &[&str]) -> Reply {
    if random.one_in(4) {
        let status = [200, 204, 301, 403, 404, 429, 500, 503][random.below(8)];
        let name = random.pick(&["x-r", "cache-control", "set-cookie", "vary"]);
        let headers = vec![(name.to_owned(), format!("max-age={}", random.below(99)))];
        return Reply::Respond {
            status,
            headers,
            body: Vec::new(),
            allowed: random.one_in(4),
        };
    }
    if random.one_in(20) {
        return Reply::Fail("refused".into());
    }
    let mut changes = Changes {
        allowed: random.one_in(6),
        ..Changes::default()
    };
    for _ in 0..random.below(3) {
        let name = random
            .pick(&["x-p", "cache-control", "set-cookie", "expires"])
            .to_owned();
        let value = format!("max-age={}", random.below(99));
        let (operation, when) = (
            u8::try_from(random.below(3)).unwrap(),
            u8::try_from(random.below(16)).unwrap(),
        );
        let types = if random.one_in(4) {
            vec!["text/html".into()]
        } else {
            vec![]
        };
        changes.headers.push(Change {
            operation,
            name,
            value,
            when,
            types,
        });
    }
    if random.one_in(3) {
        changes.paths = vec![format!("/m{}", random.below(3)), "/private/x".into()];
    }
    if random.one_in(5) {
        changes.place = Some(("tenants".into(), format!("/t{}", random.below(3))));
    }
    if random.one_in(5) {
        changes.pace = Some(1 + random.next() % 9);
    }
    if !establishes.is_empty() && random.one_in(2) {
        let name = random.pick(establishes).to_owned();
        changes.facts.push((name, format!("v{}", random.below(3))));
    }
    Reply::Proceed(changes)
}

/// An expression that asks, branches on the answers and leaves the address of a reply.
fn tree(guest: &mut Guest, random: &mut Random, establishes: &[&str], depth: usize) -> String {
    if depth == 0 || random.one_in(6) {
        let reply = guest.reply(&reply(random, establishes));
        return match random.below(24) {
            0 => "(unreachable)".into(),
            1 => format!("(drop (call $clock.now)) {reply}"),
            2 => format!("(drop (call $random.u64)) {reply}"),
            _ => reply,
        };
    }
    let mut text = String::new();
    let asked = question(guest, random);
    write!(text, "(i32.and {asked_fold} (i32.const 1))", asked_fold = fold(&asked)).unwrap();
    let (yes, no) = (
        tree(guest, random, establishes, depth - 1),
        tree(guest, random, establishes, depth - 1),
    );
    format!("(if (result i32) {text} (then {yes}) (else {no}))")
}

/// Several expressions as one operand.
fn fold(expressions: &str) -> String {
    format!("(block (result i32) {expressions})")
}

fn chains(random: &mut Random) -> Chains {
    let mut chains = Chains::new();
    for at in 0..1 + random.below(3) {
        let mut guest = Guest::new();
        guest.more = HELPERS.into();
        let establishes: &[&str] = if at == 0 { &["user", "group"] } else { &[] };
        let depth = 1 + random.below(6);
        guest.decide = tree(&mut guest, random, establishes, depth);
        if random.one_in(4) {
            // Not from a snapshot then, but in an instance of its own, configured ahead or for the call.
            guest = uncapturable(guest);
        }
        let spec = chains.add(&guest);
        spec.establishes = establishes.iter().map(ToString::to_string).collect();
        spec.reads = FACTS.iter().map(ToString::to_string).collect();
        spec.grants.sharing = true;
    }
    chains
}

fn request(random: &mut Random) -> Request {
    let mut target = random.pick(PATHS).to_owned();
    target.push_str(random.pick(&[
        "",
        "",
        "?",
        "?token=a",
        "?token=b&q=1",
        "?q=1&token=",
        "?token=a+b&token=c",
    ]));
    let mut request = get(&target);
    request.method = random.pick(&["GET", "GET", "HEAD", "POST"]).parse().unwrap();
    for name in &HEADERS[..6] {
        for _ in 0..[0, 0, 0, 1, 1, 2][random.below(6)] {
            let value = random.pick(&["1", "2", "", "session=1; theme=dark", "session=\"1\"", "de, en"]);
            let name = http::HeaderName::from_bytes(name.as_bytes()).unwrap();
            request.headers.append(name, value.parse().unwrap());
        }
    }
    request.client = match random.below(5) {
        0 => None,
        1 => Some([10, 1, 2, 3].into()),
        2 => Some([10, 9, 9, 9].into()),
        3 => Some("2001:db8::7".parse().unwrap()),
        _ => Some([192, 0, 2, 1].into()),
    };
    request.scheme = random.pick(&["http", "https"]);
    request.host = random.pick(&["a.example", "b.example"]).into();
    request.arrived += std::time::Duration::from_secs(random.next() % 40);
    if random.one_in(3) {
        request
            .facts
            .push(("tls.name".into(), random.pick(&["ann", "bob"]).into()));
    }
    request
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kept_decision_equals_a_fresh_one() {
    let number = |name: &str, default| std::env::var(name).map_or(default, |value| value.parse().unwrap());
    let pairs = usize::try_from(number("WASMSERVE_PAIRS", 20_000)).unwrap();
    let seed = number("WASMSERVE_SEED", 1);
    let mut total = Counts::default();
    let mut compared = 0;
    let mut generation = seed;
    while compared < pairs {
        let mut random = Random::new(generation);
        let mut chains = chains(&mut random);
        // Small enough that some decisions have to go again.
        chains.spec.budget.evidence = [32 << 10, 64 << 10, 16 << 20][random.below(3)];
        let keeping = chains.load().await;
        for policy in &mut chains.spec.policies {
            policy.reuse = Reuse {
                evidence: false,
                ..Reuse::default()
            };
        }
        let fresh = chains.load().await;
        for _ in 0..REQUESTS.min(pairs - compared) {
            let request = Arc::new(request(&mut random));
            let (mut kept, mut fresh) = (keeping.decide(&request).await, fresh.decide(&request).await);
            // What they took is not what was decided.
            (kept.effort, fresh.effort) = Default::default();
            assert_eq!(
                format!("{kept:?}"),
                format!("{fresh:?}"),
                "seed {generation}, {request:?}"
            );
            for status in [200, 404] {
                let before = [("cache-control", "public, s-maxage=50"), ("vary", "accept-encoding")];
                let [kept, fresh] = [&kept, &fresh].map(|verdict| applied(verdict, status, Some("text/html"), &before));
                assert_eq!(kept, fresh, "seed {generation}, {request:?}");
            }
            compared += 1;
        }
        for counts in keeping.counts() {
            total.ran += counts.ran;
            total.ahead += counts.ahead;
            total.reused += counts.reused;
            total.kept += counts.kept;
            total.declined += counts.declined;
        }
        assert!(fresh.counts().iter().all(|counts| counts.reused == 0));
        generation += 1;
    }
    println!("{compared} pairs, {} policies' chains: {total:?}", generation - seed);
    // The test means nothing unless decisions were used again.
    assert!(total.reused > total.ran / 4, "{total:?}");
}
