//! How much a cache keeps, and in what portions.

/// How a cache is laid out. See [`Options::new`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    pub(crate) capacity: u64,
    pub(crate) piece: u32,
    pub(crate) read_ahead: u32,
}

/// What cannot be kept as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    #[error("pieces have between {least} and {most} bytes, not {asked}", least = Options::SMALLEST_PIECE, most = Options::LARGEST_PIECE)]
    Piece { asked: u64 },
    #[error("{capacity} bytes are not enough: a cache has room for at least {fewest} pieces, {least} bytes", fewest = Options::FEWEST)]
    Capacity { capacity: u64, least: u64 },
}

/// Segments that a full cache has, roughly: each is evicted at once, and takes a descriptor.
const SEGMENTS: u64 = 256;
/// From 64 GiB on there are more of them, so that copying what outlives one stays short.
const LARGEST_SEGMENT: u64 = 256 << 20;

impl Options {
    /// 1 MiB, as nginx's manual has it for `slice`: one request to the store brings enough to be worth it, a seek waits
    /// for no more than that.
    pub const PIECE: u32 = 1 << 20;
    pub const SMALLEST_PIECE: u64 = 4 << 10;
    /// A request for one byte waits for a whole piece.
    pub const LARGEST_PIECE: u64 = 16 << 20;
    /// Pieces for which there has to be room, so that the queues of the policy mean something.
    pub const FEWEST: u64 = 64;
    /// Pieces ahead of a sequential reader, if nothing else is said.
    pub const READ_AHEAD: u32 = 8;

    /// `capacity`: bytes on disk of all files together; `piece`: bytes that are fetched, checked and kept as one.
    ///
    /// # Errors
    /// When one of them is out of range.
    pub fn new(capacity: u64, piece: u64) -> Result<Self, OptionsError> {
        let fits = (Self::SMALLEST_PIECE..=Self::LARGEST_PIECE).contains(&piece);
        let Some(size) = u32::try_from(piece).ok().filter(|_| fits) else {
            return Err(OptionsError::Piece { asked: piece });
        };
        let least = piece * Self::FEWEST;
        if capacity < least {
            return Err(OptionsError::Capacity { capacity, least });
        }
        Ok(Self {
            capacity,
            piece: size,
            read_ahead: Self::READ_AHEAD,
        })
    }

    /// Pieces that are fetched ahead of a sequential reader, never beyond what it asked for. At least 1.
    pub fn read_ahead(self, pieces: u32) -> Self {
        Self {
            read_ahead: pieces.max(1),
            ..self
        }
    }

    /// Bytes on disk of all files together.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Bytes that are fetched, checked and kept as one.
    pub fn piece(&self) -> u64 {
        self.piece.into()
    }

    /// Bytes on disk of one segment with its index, at most.
    pub(crate) fn segment(&self) -> u64 {
        // Four pieces and what goes with them, in an eighth of the smallest cache.
        let least = 5 * u64::from(self.piece) + crate::segment::OVERHEAD;
        (self.capacity / SEGMENTS).clamp(least, LARGEST_SEGMENT.max(least))
    }

    /// What a piece of this length takes of a segment. Small objects count for more than their bytes, so that the memory
    /// for what is known of them is bounded: at most 64 pieces for each that would fit.
    pub(crate) fn charge(&self, length: u32) -> u64 {
        let taken = u64::from(length) + crate::index::ENTRY as u64;
        taken.max(u64::from(self.piece / 64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_out_of_range_are_refused() {
        assert!(Options::new(64 << 20, 1 << 20).is_ok());
        assert!(matches!(
            Options::new(1 << 40, 1),
            Err(OptionsError::Piece { asked: 1 })
        ));
        assert!(matches!(
            Options::new(1 << 40, u64::MAX),
            Err(OptionsError::Piece { .. })
        ));
        let small = Options::new((64 << 20) - 1, 1 << 20);
        assert_eq!(
            small.unwrap_err().to_string(),
            "67108863 bytes are not enough: a cache has room for at least 64 pieces, 67108864 bytes"
        );
    }

    #[test]
    fn a_cache_of_any_size_has_at_least_ten_segments() {
        for capacity in [64 << 20, 1 << 30, 10 << 30, 1 << 40, 1 << 46] {
            let options = Options::new(capacity, 1 << 20).expect("enough");
            assert!(capacity / options.segment() >= 10, "{capacity}");
            assert!(options.segment() >= 5 << 20);
        }
        let options = Options::new(64 * 4096, 4096).expect("enough");
        assert!(options.capacity / options.segment() >= 8, "{}", options.segment());
    }
}
