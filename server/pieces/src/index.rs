//! What is written beside a segment's bytes: which pieces it has, where, and their checksums.
//!
//! Entries of one length, each with a checksum of its own, written after the bytes they tell of. So an entry that can be
//! read tells of bytes that were written; after a loss of power that may no longer hold, which the pieces' checksums tell.
use crate::key::{ObjectId, PieceKey};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Bytes of an entry. The first one of a file is its header.
pub(crate) const ENTRY: usize = 72;

const MAGIC: &[u8; 24] = b"wasmserve piece index 1\n";

/// Which of the two queues a segment is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// What was fetched once.
    Probation,
    /// What was asked for again.
    Proven,
}

/// What a segment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) segment: u64,
    pub(crate) class: Class,
    /// Length of the pieces that objects were cut into.
    pub(crate) piece: u32,
}

/// One piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: PieceKey,
    pub(crate) offset: u64,
    pub(crate) length: u32,
    pub(crate) sum: u64,
}

impl Header {
    pub(crate) fn encode(&self) -> [u8; ENTRY] {
        let mut bytes = [0; ENTRY];
        bytes[..24].copy_from_slice(MAGIC);
        bytes[24..32].copy_from_slice(&self.segment.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.piece.to_le_bytes());
        bytes[36] = self.class as u8;
        seal(&mut bytes, self.segment);
        bytes
    }

    /// `None`: it is not one, or not whole.
    pub(crate) fn decode(bytes: &[u8; ENTRY], segment: u64) -> Option<Self> {
        let class = [Class::Probation, Class::Proven]
            .into_iter()
            .find(|class| *class as u8 == bytes[36])?;
        let header = Self {
            segment,
            class,
            piece: u32::from_le_bytes(*bytes[32..].first_chunk()?),
        };
        (header.encode() == *bytes).then_some(header)
    }
}

impl Entry {
    /// `segment`: of the file it is written to, so that it means nothing in another.
    pub(crate) fn encode(&self, segment: u64) -> [u8; ENTRY] {
        let mut bytes = [0; ENTRY];
        bytes[..32].copy_from_slice(&self.key.object.0);
        bytes[32..40].copy_from_slice(&self.key.index.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.offset.to_le_bytes());
        bytes[48..52].copy_from_slice(&self.length.to_le_bytes());
        bytes[56..64].copy_from_slice(&self.sum.to_le_bytes());
        seal(&mut bytes, segment);
        bytes
    }

    /// `None`: there is none, or it is not whole.
    pub(crate) fn decode(bytes: &[u8; ENTRY], segment: u64) -> Option<Self> {
        let number = |at: usize| Some(u64::from_le_bytes(*bytes[at..].first_chunk()?));
        let entry = Self {
            key: PieceKey {
                object: ObjectId(*bytes.first_chunk()?),
                index: number(32)?,
            },
            offset: number(40)?,
            length: u32::from_le_bytes(*bytes[48..].first_chunk()?),
            sum: number(56)?,
        };
        (entry.encode(segment) == *bytes).then_some(entry)
    }
}

fn seal(bytes: &mut [u8; ENTRY], segment: u64) {
    let (content, sum) = bytes.split_at_mut(ENTRY - 8);
    sum.copy_from_slice(&xxh3_64_with_seed(content, segment).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        Entry {
            key: PieceKey {
                object: ObjectId([7; 32]),
                index: 3,
            },
            offset: 1 << 33,
            length: 1 << 20,
            sum: 0x1234_5678_9abc_def0,
        }
    }

    #[test]
    fn what_was_written_is_read() {
        assert_eq!(Entry::decode(&entry().encode(5), 5), Some(entry()));
        for class in [Class::Probation, Class::Proven] {
            let header = Header {
                segment: 9,
                class,
                piece: 4096,
            };
            assert_eq!(Header::decode(&header.encode(), 9), Some(header));
            assert_eq!(Header::decode(&header.encode(), 8), None);
        }
    }

    #[test]
    fn a_bit_that_changed_makes_it_none() {
        let header = Header {
            segment: 9,
            class: Class::Proven,
            piece: 4096,
        };
        for bit in 0..ENTRY * 8 {
            let mut bytes = entry().encode(5);
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Entry::decode(&bytes, 5), None, "bit {bit}");
            let mut bytes = header.encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::decode(&bytes, 9), None, "bit {bit}");
        }
        assert_eq!(Entry::decode(&entry().encode(5), 6), None, "of another segment");
        assert_eq!(Entry::decode(&[0; ENTRY], 0), None);
        assert_eq!(Entry::decode(&[0; ENTRY], u64::MAX), None);
    }
}
