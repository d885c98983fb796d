//! Memory that pieces of files are read into. It is used again: a piece of 64 KiB is more than the allocator keeps at hand
//! for a thread, and clearing it first would be a third pass over it beside the two that copy.

use bytes::Bytes;
use std::{
    cell::RefCell,
    ops::{Deref, DerefMut},
};

/// Buffers that a thread keeps.
const KEPT: usize = 4;

/// Bytes of a buffer that is worth keeping, and of one that is not too large to be kept.
const SMALLEST: usize = 16 << 10;
const LARGEST: usize = 256 << 10;

thread_local! {
    static FREE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Room for a piece. It holds anything at first: whoever fills it fills all of it, or gives it to nobody.
pub(crate) struct Buffer {
    /// As long as it has capacity.
    room: Vec<u8>,
    length: usize,
}

// === impl Buffer ===

impl Buffer {
    pub(crate) fn new(length: usize) -> Self {
        let size = match length {
            SMALLEST..=LARGEST => length.next_power_of_two(),
            _ => length,
        };
        let kept = FREE.try_with(|free| free.borrow_mut().pop_if(|room| room.len() == size));
        Self {
            room: kept.ok().flatten().unwrap_or_else(|| vec![0; size]),
            length,
        }
    }

    /// What was read. The room is free again when the last of it is gone.
    pub(crate) fn filled(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if !(SMALLEST..=LARGEST).contains(&self.room.len()) {
            return;
        }
        // A thread that ends keeps nothing.
        let _ = FREE.try_with(|free| {
            let mut free = free.borrow_mut();
            if free.len() < KEPT {
                free.push(std::mem::take(&mut self.room));
            }
        });
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.room[..self.length]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.room[..self.length]
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_used_again_when_nobody_has_what_was_read() {
        let mut first = Buffer::new(SMALLEST + 1);
        let place = first.as_ptr();
        first.fill(7);
        let read = first.filled();
        assert_eq!(&*read, &[7; SMALLEST + 1]);
        let part = read.slice(1..3);
        drop(read);
        let other = Buffer::new(SMALLEST + 1);
        assert_ne!(other.as_ptr(), place, "somebody still has a part of it");
        drop(part);
        let second = Buffer::new(2 * SMALLEST);
        assert_eq!(second.as_ptr(), place);
        assert_eq!(second.len(), 2 * SMALLEST);
    }

    #[test]
    fn a_thread_keeps_a_few_of_a_middling_size() {
        let of = |length: usize| drop((0..3 * KEPT).map(|_| Buffer::new(length)).collect::<Vec<_>>());
        let kept = || FREE.with_borrow(Vec::len);
        for length in [0, 1, SMALLEST - 1, LARGEST + 1, 1 << 20] {
            of(length);
            assert_eq!(kept(), 0, "{length}");
        }
        of(LARGEST);
        assert_eq!(kept(), KEPT);
    }
}
