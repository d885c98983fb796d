//! Fingerprints of answers. Answers are secrets (tokens, cookies), so only a keyed hash of them is kept.
use crate::questions::{Answer, Question};
use std::hash::{BuildHasher, Hash, Hasher, RandomState};

/// A keyed 128-bit hash of an answer.
///
/// Two SipHash-1-3 of independent random keys: without the keys, which never leave the process, nobody can look for two
/// answers with one fingerprint, and by chance it takes about 2^64 answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint([u64; 2]);

impl Hash for Fingerprint {
    /// The first half is enough for a table; equality compares both.
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0[0]);
    }
}

/// The key of all fingerprints, chosen when the engine starts.
#[derive(Clone, Debug)]
pub(crate) struct Key(RandomState, RandomState);

impl Key {
    pub fn random() -> Self {
        Self(Self::independent(), Self::independent())
    }

    /// In a thread of its own, because keys that one thread draws one after the other differ by one.
    fn independent() -> RandomState {
        std::thread::scope(|scope| scope.spawn(RandomState::new).join()).unwrap_or_default()
    }

    /// Tagged by the kind of answer and framed by lengths: `none` is not `""`, and `["ab"]` is not `["a", "b"]`.
    pub fn fingerprint(&self, answer: &Answer<'_>) -> Fingerprint {
        self.of(Framed(answer))
    }

    /// Of a text that is complete in itself.
    pub fn text(&self, text: &str) -> Fingerprint {
        self.of(text)
    }

    /// Of the evidence of a policy, by its position in the chain.
    pub fn trace(&self, policy: usize, trace: &[(Question, Fingerprint)]) -> Fingerprint {
        self.of((policy, trace))
    }

    fn of(&self, what: impl Hash) -> Fingerprint {
        Fingerprint([self.0.hash_one(&what), self.1.hash_one(&what)])
    }
}

impl Fingerprint {
    pub fn halves(self) -> [u64; 2] {
        self.0
    }
}

struct Framed<'a, 'b>(&'a Answer<'b>);

impl Hash for Framed<'_, '_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let text = |text: &str, state: &mut H| {
            state.write_usize(text.len());
            state.write(text.as_bytes());
        };
        match self.0 {
            Answer::Text(value) => {
                state.write_u8(0);
                text(value, state);
            }
            Answer::Optional(None) => state.write_u8(1),
            Answer::Optional(Some(value)) => {
                state.write_u8(2);
                text(value, state);
            }
            Answer::Texts(values) => {
                state.write_u8(3);
                state.write_usize(values.len());
                values.iter().for_each(|value| text(value, state));
            }
            Answer::Values(values) => {
                state.write_u8(4);
                state.write_usize(values.len());
                for value in values {
                    state.write_usize(value.len());
                    state.write(value);
                }
            }
            Answer::Flag(value) => state.write_u8(5 + u8::from(*value)),
        }
    }
}
