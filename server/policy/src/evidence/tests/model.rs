//! Generated policies and requests: what was kept must be what a policy decides anew.
//!
//! A policy is a tree here: it asks a question, goes on by the answer, and a leaf is its decision. So it is what a guest is
//! to the host, something that can go by answers alone, and takes no time. What is kept, asked again and compared is the
//! real thing: questions and answers, the recorder, fingerprints, the trie, its bound and what comes with a decision.
//!
//! The tests of `evidence` run [`check`] with seeded bytes, and the fuzz target `evidence` with those of libFuzzer. Real
//! guests take part in `tests/policy/differential.rs`.
use super::decided_as;
use crate::{
    Request,
    evidence::{Evidence, Keeping, Key},
    questions::{Answer, Circumstances, Established, FieldName, Question},
    recorder::Recorder,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use std::{
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};
use wasmserve_files::SitePath;

const DEPTH: usize = 6;
const REQUESTS: usize = 400;
/// Bytes that answers may take: never too few.
const ANSWERS: usize = 1 << 20;
/// Seconds since 1970, at which the first request may arrive.
const NOW: u64 = 1_000_000_000;

/// What was reached: a run that keeps nothing or uses nothing again has shown nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reached {
    pub reused: usize,
    pub kept: usize,
    pub declined: usize,
    pub unrepeatable: usize,
}

enum Tree {
    /// `[when the answer's hash is even, when it is odd]`.
    Ask(Question, Box<[Tree; 2]>),
    /// Something that cannot be found again.
    Chance(Box<Tree>),
    Decide(Leaf),
}

#[derive(Clone, Copy)]
struct Leaf {
    number: u16,
    establishes: Option<(&'static str, &'static str)>,
    targets: Option<&'static str>,
}

/// Bytes to choose by; zeros when they are used up.
struct Choices<'a>(std::slice::Iter<'a, u8>);

impl Choices<'_> {
    fn byte(&mut self) -> usize {
        self.0.next().copied().map_or(0, usize::from)
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.byte() % from.len()]
    }

    fn are_left(&self) -> bool {
        !self.0.as_slice().is_empty()
    }

    fn question(&mut self) -> Question {
        const HEADERS: &[&str] = &["accept-language", "authorization", "cookie", "x-a", "not a name"];
        const COOKIES: &[&str] = &["session", "theme"];
        const PARAMETERS: &[&str] = &["token", "q", ""];
        const BLOCKS: &[&str] = &["10.0.0.0/8", "192.0.2.0/24", "::/0", "10.1.2.3"];
        match self.byte() % 16 {
            0 => Question::Method,
            1 => Question::Path,
            2 => Question::Targets,
            3 => Question::Query,
            4 => Question::QueryParameter(self.pick(PARAMETERS).into()),
            5 => Question::QueryParameterValues(self.pick(PARAMETERS).into()),
            6 | 7 => Question::Header(FieldName::new(self.pick(HEADERS))),
            8 => Question::HeaderValues(FieldName::new(self.pick(HEADERS))),
            9 => Question::Cookie(self.pick(COOKIES).into()),
            10 => Question::Scheme,
            11 => Question::Host,
            12 => Question::ClientAddress,
            13 => Question::client_within(self.pick(BLOCKS)).expect("a block"),
            14 => Question::Fact(self.pick(&["user", "group", "tls.name"]).into()),
            _ => Question::Before(NOW + self.byte() as u64 % 16),
        }
    }

    fn tree(&mut self, depth: usize) -> Tree {
        match self.byte() % 8 {
            0..=5 if depth > 0 => {
                let question = self.question();
                Tree::Ask(question, Box::new([self.tree(depth - 1), self.tree(depth - 1)]))
            }
            6 if depth > 0 && self.byte().is_multiple_of(8) => Tree::Chance(Box::new(self.tree(depth - 1))),
            _ => Tree::Decide(self.leaf()),
        }
    }

    fn leaf(&mut self) -> Leaf {
        let (number, more) = (self.byte(), self.byte());
        let value = ["ann", "bob"][number % 2];
        Leaf {
            number: 200 + u16::try_from(number % 8).expect("it is less than 8"),
            establishes: (more % 4 == 1).then_some(("user", value)),
            targets: (more % 4 == 2).then_some(["/a", "/b"][number % 2]),
        }
    }

    fn request(&mut self) -> Arc<Request> {
        const VALUES: &[&str] = &["1", "2", "", "session=1; theme=dark", "session=\"1\"", "\u{e9}"];
        let mut headers = HeaderMap::new();
        let fields = self.byte();
        for (bit, name) in ["accept-language", "authorization", "cookie", "x-a"]
            .into_iter()
            .enumerate()
        {
            for _ in 0..(fields >> (2 * bit)) % 4 {
                let value = HeaderValue::from_bytes(self.pick(VALUES).as_bytes()).expect("a field value");
                headers.append(HeaderName::from_static(name), value);
            }
        }
        let (who, when) = (self.byte(), self.byte());
        Arc::new(Request {
            method: [Method::GET, Method::HEAD, Method::POST][who % 3].clone(),
            path: SitePath::from_decoded(self.pick(&["/", "/a", "/a/", "/private/x"])).expect("a path"),
            query: [None, Some(""), Some("token=a"), Some("token=a+b&q=1&token=c")][when % 4].map(str::to_owned),
            headers,
            scheme: ["http", "https"][who / 3 % 2],
            host: ["a.example", "b.example"][who / 6 % 2].into(),
            site: "model".into(),
            client: [None, Some([10, 1, 2, 3].into()), Some([192, 0, 2, 1].into())][who / 12 % 3],
            arrived: UNIX_EPOCH + Duration::from_secs(NOW + when as u64 / 4 % 16),
            facts: [vec![], vec![("tls.name".into(), "ann".into())]][who / 36 % 2].clone(),
        })
    }
}

/// Decides as the policy does.
fn run(mut tree: &Tree, circumstances: &Circumstances, recorder: &mut Recorder) -> Leaf {
    loop {
        match tree {
            Tree::Ask(question, branches) => {
                let answer = recorder.ask(circumstances, question.clone()).expect("it is answered");
                tree = &branches[odd(&answer)];
            }
            Tree::Chance(next) => {
                recorder.unrepeatable("chance");
                tree = next;
            }
            Tree::Decide(leaf) => return *leaf,
        }
    }
}

/// A bit of everything that an answer says.
fn odd(answer: &Answer<'_>) -> usize {
    format!("{answer:?}")
        .bytes()
        .fold(0, |sum, byte| sum ^ usize::from(byte.count_ones() as u8))
        % 2
}

/// Decides requests by a chain of policies that the bytes choose.
///
/// # Panics
/// When what was kept is not what is decided anew, when the tripwire takes an honest policy for another, or when more is kept
/// than may be.
pub fn check(bytes: &[u8]) -> Reached {
    let mut choices = Choices(bytes.iter());
    let limit = [2 << 10, 8 << 10, 32 << 10, 1 << 20][choices.byte() % 4];
    let policies: Vec<Tree> = (0..1 + choices.byte() % 3).map(|_| choices.tree(DEPTH)).collect();
    let key = Key::random();
    let evidence = Evidence::new(key.clone(), limit, &vec![true; policies.len()]);
    let mut reached = Reached::default();
    for _ in 0..REQUESTS {
        if !choices.are_left() {
            break;
        }
        let mut circumstances = Circumstances::new(choices.request());
        for (at, policy) in policies.iter().enumerate() {
            let mut recorder = Recorder::new(Some(key.clone()), ANSWERS);
            let leaf = run(policy, &circumstances, &mut recorder);
            let fresh = decided_as(leaf.number, &recorder);
            match evidence.find(at, &circumstances) {
                Some(kept) => {
                    assert_eq!(*kept, *fresh, "policy {at}, {circumstances:?}");
                    reached.reused += 1;
                }
                None if recorder.unkept.is_some() => reached.unrepeatable += 1,
                None => match evidence.keep(at, &recorder.trace, &fresh) {
                    Keeping::Kept => {
                        let found = evidence.find(at, &circumstances).expect("it was kept just now");
                        assert_eq!(*found, *fresh, "policy {at}, {circumstances:?}");
                        reached.kept += 1;
                    }
                    Keeping::Declined => reached.declined += 1,
                    Keeping::Tripped => panic!("policy {at} is honest: {circumstances:?}"),
                },
            }
            assert!(
                evidence.room().bytes <= limit,
                "{} of {limit} bytes",
                evidence.room().bytes
            );
            if let Some((name, value)) = leaf.establishes {
                circumstances.facts.retain(|fact| fact.name != name);
                circumstances.facts.push(Established {
                    name: name.into(),
                    value: value.into(),
                });
            }
            if let Some(target) = leaf.targets {
                circumstances.targets = Some(vec![SitePath::from_decoded(target).expect("a path")]);
            }
        }
    }
    reached
}
