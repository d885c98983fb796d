//! How often something that is not kept was seen (TinyLFU: Einziger, Friedman, Manes, 2017): a count-min sketch that
//! forgets half of everything now and then.
use super::Fingerprint;

const ROWS: usize = 4;
const MAX: u8 = 15;
/// Increments for each counter of a row before everything is halved.
const MEMORY: usize = 8;

#[derive(Debug)]
pub(super) struct Sketch {
    counters: Vec<u8>,
    /// A power of two.
    width: usize,
    increments: usize,
}

impl Sketch {
    /// For about as many entries.
    pub fn new(entries: usize) -> Self {
        let width = entries.next_power_of_two().clamp(64, 1 << 16);
        Self {
            counters: vec![0; width * ROWS],
            width,
            increments: 0,
        }
    }

    /// Counts one more, and says how often it was seen lately; at most 15.
    pub fn see(&mut self, what: Fingerprint) -> u8 {
        let cells = self.cells(what);
        let seen = cells.iter().map(|cell| self.counters[*cell]).min().unwrap_or(0);
        if seen < MAX {
            for cell in cells {
                // Conservative update: only what the estimate rests on.
                if self.counters[cell] == seen {
                    self.counters[cell] += 1;
                }
            }
        }
        self.increments += 1;
        if self.increments == self.width * MEMORY {
            self.increments = 0;
            self.counters.iter_mut().for_each(|counter| *counter /= 2);
        }
        (seen + 1).min(MAX)
    }

    fn cells(&self, what: Fingerprint) -> [usize; ROWS] {
        let [a, b] = what.halves();
        let halves = [a, a >> 32, b, b >> 32];
        // The width is at most 2^16, so truncating loses nothing that counts.
        std::array::from_fn(|row| row * self.width + (halves[row] as usize & (self.width - 1)))
    }
}
