//! Fingerprints of answers. Answers are secrets (tokens, cookies), so only a keyed hash of them is kept.
use crate::questions::{Answer, Question};
use siphasher::sip128::{Hasher128, SipHasher13};
use std::hash::{BuildHasher, Hash, Hasher, RandomState};

/// A keyed 128-bit hash (SipHash-1-3): without the key, which never leaves the process, nobody can look for two answers with
/// one fingerprint, and by chance it takes about 2^64 answers.
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
pub(crate) struct Key(SipHasher13);

impl Key {
    /// From the operating system's randomness, which the standard library keys its hash tables with.
    pub fn random() -> Self {
        let random = RandomState::new();
        Self(SipHasher13::new_with_keys(random.hash_one(0_u8), random.hash_one(1_u8)))
    }

    /// Tagged by the kind of answer and framed by lengths: `none` is not `""`, and `["ab"]` is not `["a", "b"]`.
    pub fn fingerprint(&self, answer: &Answer<'_>) -> Fingerprint {
        let mut hasher = self.0;
        let mut text = |bytes: &[u8]| {
            hasher.write_usize(bytes.len());
            hasher.write(bytes);
        };
        let tag = match answer {
            Answer::Text(value) => {
                text(value.as_bytes());
                0
            }
            Answer::Optional(None) => 1,
            Answer::Optional(Some(value)) => {
                text(value.as_bytes());
                2
            }
            Answer::Texts(values) => {
                values.iter().for_each(|value| text(value.as_bytes()));
                3
            }
            Answer::Values(values) => {
                values.iter().for_each(|value| text(value));
                4
            }
            Answer::Flag(false) => 5,
            Answer::Flag(true) => 6,
        };
        hasher.write_u8(tag);
        finish(&hasher)
    }

    /// Of a text that is complete in itself.
    pub fn text(&self, text: &str) -> Fingerprint {
        let mut hasher = self.0;
        hasher.write(text.as_bytes());
        finish(&hasher)
    }

    /// Of the evidence of a policy, by its position in the chain.
    pub fn trace(&self, policy: usize, trace: &[(Question, Fingerprint)]) -> Fingerprint {
        let mut hasher = self.0;
        (policy, trace).hash(&mut hasher);
        finish(&hasher)
    }
}

fn finish(hasher: &SipHasher13) -> Fingerprint {
    let hash = hasher.finish128();
    Fingerprint([hash.h1, hash.h2])
}

impl Fingerprint {
    pub fn halves(self) -> [u64; 2] {
        self.0
    }
}
