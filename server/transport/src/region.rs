//! The placeholder: memory that stands for file bytes which only the kernel reads.
//!
//! A [`Chunk`](crate::Chunk) that is a span of a file has to show *some* bytes to the HTTP library. It shows a slice of
//! this region. What counts is the slice's address, never its content: the place within the region says which byte of
//! the connection's span bytes it stands for, so the transport can tell a slice that is due from any other.
//!
//! The content is plain text that says what went wrong, should it ever be seen. Pages without read permission were
//! considered and refused: a copy would then end the process, with every other client's download, instead of one
//! connection (decision 0006).
use std::ops::Range;

/// The longest slice that stands for span bytes, and the period of places: byte `p` of a connection's span bytes stands
/// at place `p % PERIOD`. Longer chunks show the region again and again: hyper takes 64 slices for a write.
pub(crate) const PERIOD: usize = 64 * 1024;

/// Two periods, so that from every place of the first a whole period follows.
static REGION: [u8; 2 * PERIOD] = filled();

const TEXT: &[u8; 64] = b"wasmserve placeholder: this is not the content of the file ... \n";

const fn filled() -> [u8; 2 * PERIOD] {
    let mut region = [0; 2 * PERIOD];
    let (pieces, _) = region.as_chunks_mut::<64>();
    let mut at = 0;
    while at < pieces.len() {
        pieces[at] = *TEXT;
        at += 1;
    }
    region
}

/// The slice that stands for the span bytes `positions`, at most [`PERIOD`] of them.
pub(crate) fn slice(positions: Range<u64>) -> &'static [u8] {
    let place = place_of(positions.start);
    let length = positions.end.saturating_sub(positions.start).min(PERIOD as u64) as usize;
    &REGION[place..place + length]
}

/// Where in the region a byte stands.
pub(crate) fn place_of(position: u64) -> usize {
    (position % PERIOD as u64) as usize
}

/// The place at which a slice begins when it is part of the region, found by address alone. Memory that is alive never
/// overlaps a static, so everything else is real bytes.
pub(crate) fn place(slice: &[u8]) -> Option<usize> {
    let place = slice.as_ptr().addr().checked_sub(REGION.as_ptr().addr())?;
    (place < REGION.len() && !slice.is_empty()).then_some(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_recognised_by_address_and_not_by_content() {
        for position in [0, 1, 4095, PERIOD as u64 - 1, PERIOD as u64, 7 * PERIOD as u64 + 5] {
            let shown = slice(position..position + 1000);
            assert_eq!(shown.len(), 1000);
            assert_eq!(place(shown), Some(place_of(position)));
            assert_eq!(place(&shown[10..]), Some(place_of(position) + 10));
            let copy = shown.to_vec();
            assert_eq!(place(&copy), None, "a copy is real bytes");
        }
        assert_eq!(slice(0..u64::MAX).len(), PERIOD);
        assert_eq!(slice(PERIOD as u64 - 1..u64::MAX).len(), PERIOD);
        assert_eq!(place(&[]), None);
        assert!(slice(0..200).starts_with(b"wasmserve placeholder"));
    }
}
