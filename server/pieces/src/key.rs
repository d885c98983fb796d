//! What a piece is found by: the version of an object, and its place in it.
use crate::origin::Origin;
use sha2::{Digest, Sha256};
use std::{
    fmt,
    hash::{Hash, Hasher},
    ops::Range,
    sync::Arc,
};
use tokio::sync::Semaphore;

/// One version of one object of one store, as a digest of all that tells it from others.
///
/// SHA-256, because keys and contents are chosen by tenants who do not trust each other.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct ObjectId(pub(crate) [u8; 32]);

/// Which piece of which object.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct PieceKey {
    pub(crate) object: ObjectId,
    pub(crate) index: u64,
}

/// Where objects come from, and as whom they are read there.
///
/// Two with the same identity share what is kept, so the identity names the endpoint, the bucket and the credentials.
#[derive(Clone, Debug)]
pub struct Store {
    identity: Arc<[u8]>,
    /// Fetches that run at once: a store that hangs holds up its own objects only.
    pub(crate) fetches: Arc<Semaphore>,
}

/// One version of one object: its bytes never change.
#[derive(Clone)]
pub struct Object {
    pub(crate) id: ObjectId,
    pub(crate) size: u64,
    pub(crate) origin: Arc<dyn Origin>,
    pub(crate) fetches: Arc<Semaphore>,
}

/// Fetches from one store at once, if nothing else is said. Each takes some 300 KiB while it waits for the disk.
pub const FETCHES: usize = 64;

// === impl Store ===

impl Store {
    /// `identity`: whatever tells this store, and the right to read from it, from all others.
    pub fn new(identity: impl AsRef<[u8]>, fetches: usize) -> Self {
        Self {
            identity: identity.as_ref().into(),
            fetches: Arc::new(Semaphore::new(fetches.clamp(1, Semaphore::MAX_PERMITS))),
        }
    }

    /// An object of this store. `version`: an entity tag or version id that no other content of this key ever has;
    /// `size`: its length in bytes; `origin`: where this version can be read.
    pub fn object(&self, key: &str, version: &str, size: u64, origin: Arc<dyn Origin>) -> Object {
        let mut digest = Sha256::new();
        // Each with its length, so that no two lists of fields look alike.
        for field in [&self.identity, key.as_bytes(), version.as_bytes()] {
            digest.update((field.len() as u64).to_le_bytes());
            digest.update(field);
        }
        digest.update(size.to_le_bytes());
        Object {
            id: ObjectId(digest.finalize().into()),
            size,
            origin,
            fetches: Arc::clone(&self.fetches),
        }
    }
}

// === impl Object ===

impl Object {
    /// In bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn piece(&self, index: u64) -> PieceKey {
        PieceKey { object: self.id, index }
    }

    /// Bytes of the piece at `index`, of the whole object.
    pub(crate) fn bytes_of(&self, index: u64, piece: u32) -> Range<u64> {
        let start = index.saturating_mul(u64::from(piece)).min(self.size);
        start..start.saturating_add(u64::from(piece)).min(self.size)
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Object")
            .field("id", &self.id)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

// === impl ObjectId ===

impl Hash for ObjectId {
    /// A digest is as good as random already.
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.head());
    }
}

impl ObjectId {
    fn head(&self) -> u64 {
        u64::from_le_bytes(*self.0.first_chunk().expect("a digest has 32 bytes"))
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.head())
    }
}

// === impl PieceKey ===

impl PieceKey {
    /// Eight bytes to remember a piece by that is gone. A wrong match costs nothing but room.
    pub(crate) fn short(&self) -> u64 {
        // The odd constant spreads neighbours (golden ratio).
        self.object.head() ^ self.index.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

impl fmt::Debug for PieceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}/{}", self.object, self.index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::origin::{Chunks, Fetching};

    struct Nothing;

    impl Origin for Nothing {
        fn fetch(&self, _: Range<u64>) -> Fetching {
            Box::pin(async { Ok(Box::pin(futures_util::stream::empty()) as Chunks) })
        }
    }

    #[test]
    fn every_field_tells_objects_apart_and_none_runs_into_another() {
        let of = |identity: &str, key: &str, version: &str, size| {
            let object = Store::new(identity, 1).object(key, version, size, Arc::new(Nothing));
            object.id.0
        };
        let all = [
            of("s", "k", "v", 1),
            of("t", "k", "v", 1),
            of("s", "l", "v", 1),
            of("s", "k", "w", 1),
            of("s", "k", "v", 2),
            of("sk", "", "v", 1),
            of("s", "kv", "", 1),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(!all[..at].contains(one), "{at}");
        }
        assert_eq!(of("s", "k", "v", 1), all[0]);
    }

    #[test]
    fn the_last_piece_is_shorter() {
        let object = Store::new("s", 1).object("k", "v", 10, Arc::new(Nothing));
        let pieces: Vec<_> = (0..4).map(|index| object.bytes_of(index, 4)).collect();
        assert_eq!(pieces, [0..4, 4..8, 8..10, 10..10]);
        assert_eq!(object.bytes_of(u64::MAX, 4), 10..10);
    }
}
