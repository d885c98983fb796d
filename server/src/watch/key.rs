//! A secret key of this process, for digests that tell nothing to whoever does not have it.

use sha2::{Digest, Sha256};
use std::{
    fmt,
    hash::{BuildHasher, RandomState},
};

/// Random, and never written anywhere.
pub struct Key([u8; 32]);

// === impl Key ===

impl Key {
    pub fn random() -> Self {
        let mut key = [0; 32];
        for word in key.chunks_mut(8) {
            // std seeds from the operating system's randomness; each state has keys of its own.
            word.copy_from_slice(&RandomState::new().hash_one(0_u8).to_ne_bytes());
        }
        Self(key)
    }

    pub fn digest(&self, text: &[u8]) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(self.0);
        hash.update(text);
        hash.finalize().into()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}
