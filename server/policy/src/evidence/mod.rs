//! Evidence: decisions that are kept with the questions and answers that led to them.
//!
//! Every answer that a policy gets is recorded. Questions and answers in order are a decision's evidence: a policy that
//! starts from its configured state and asked nothing else must decide the same when it gets the same answers, because it
//! had nothing else to go by. So decisions are kept in a trie of questions and answers (a verifying trace: Mokhov,
//! Mitchell, Peyton Jones, "Build Systems à la Carte", 2018). For the next request the host asks itself the same questions,
//! follows the answers, and a leaf is the decision.
//!
//! In the order of events: [`Evidence::find`] before a call; after one that may be kept, [`Evidence::keep`]. A chain has one
//! bound of bytes for all of its policies; nothing is shared across chains.
mod frequency;
pub(crate) mod key;
mod trie;

pub(crate) use key::{Fingerprint, Key};

use crate::{
    counters::Room,
    decided::Decided,
    questions::{Circumstances, Question},
};
use frequency::Sketch;
use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU32, Ordering},
    },
};
use trie::{Inserted, Trie};

/// Leaves that are compared for the least recently used one.
const SAMPLE: usize = 16;
/// One decision takes this part of the bound at most.
const LARGEST_PART: usize = 8;
/// Bytes of a small decision with its evidence (measured), to size what counts how often others were seen.
const TYPICAL: usize = 300;

/// The kept decisions of a chain.
#[derive(Debug)]
pub(crate) struct Evidence {
    key: Key,
    /// Bytes.
    limit: usize,
    /// Counts insertions: the clock by which a use is recent.
    turn: AtomicU32,
    store: RwLock<Store>,
}

#[derive(Debug)]
struct Store {
    trie: Trie,
    /// Equal decisions are kept once.
    decisions: HashMap<Fingerprint, Shared>,
    /// Bytes of them.
    bytes: usize,
    /// Made when the bound is first reached.
    sketch: Option<Sketch>,
    /// Where the next sample begins.
    hand: usize,
}

#[derive(Debug)]
struct Shared {
    decided: Arc<Decided>,
    leaves: usize,
}

/// What became of a decision that was to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keeping {
    Kept,
    /// Too large, or not seen often enough to make others go.
    Declined,
    /// The same answers led to another question or decision: the policy is not what it is taken for, and nothing of it is
    /// kept from now on.
    Tripped,
}

impl Evidence {
    /// At most `limit` bytes for the policies of a chain that `keeps` says `true` for.
    pub fn new(key: Key, limit: usize, keeps: &[bool]) -> Self {
        let (decisions, bytes) = (HashMap::new(), 0);
        let store = Store {
            trie: Trie::new(keeps),
            decisions,
            bytes,
            sketch: None,
            hand: 0,
        };
        Self {
            key,
            limit,
            turn: AtomicU32::new(0),
            store: RwLock::new(store),
        }
    }

    /// The decision that was kept for the answers that these circumstances give.
    pub fn find(&self, policy: usize, circumstances: &Circumstances) -> Option<Arc<Decided>> {
        let store = self.store.read().unwrap_or_else(PoisonError::into_inner);
        let leaf = store
            .trie
            .find(policy, |question| self.key.fingerprint(&circumstances.answer(question)))?;
        leaf.touch(self.turn.load(Ordering::Relaxed));
        Some(leaf.decided.clone())
    }

    /// Whether decisions of a policy are kept at all.
    pub fn keeps(&self, policy: usize) -> bool {
        self.store
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .trie
            .is_open(policy)
    }

    /// Keeps a decision.
    pub fn keep(&self, policy: usize, trace: &[(Question, Fingerprint)], decided: &Arc<Decided>) -> Keeping {
        let mark = self.key.text(&format!("{decided:?}"));
        let (seen, weight) = (self.key.trace(policy, trace), decided.weight());
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut store = self.store.write().unwrap_or_else(PoisonError::into_inner);
        if !store.trie.is_open(policy) {
            return Keeping::Declined;
        }
        // Equal decisions are shared by how they print, and two header values can print alike: `é` and the characters
        // `\xc3\xa9`. So what is shared is compared.
        if store
            .decisions
            .get(&mark)
            .is_some_and(|known| *known.decided != **decided)
        {
            return Keeping::Declined;
        }
        let cost = Trie::cost(trace) + weight;
        if cost > self.limit / LARGEST_PART || !store.make_room(cost, self.limit, seen, turn) {
            return Keeping::Declined;
        }
        store.insert(policy, trace, mark, turn, decided)
    }

    pub fn room(&self) -> Room {
        let store = self.store.read().unwrap_or_else(PoisonError::into_inner);
        Room {
            bytes: store.used(),
            decisions: store.trie.len(),
        }
    }
}

impl Store {
    fn used(&self) -> usize {
        self.trie.bytes() + self.bytes
    }

    /// Lets go of what was not used for long, unless it was used more often than the newcomer was seen.
    fn make_room(&mut self, cost: usize, limit: usize, newcomer: Fingerprint, turn: u32) -> bool {
        if self.used() + cost <= limit {
            return true;
        }
        let seen = self
            .sketch
            .get_or_insert_with(|| Sketch::new(limit / TYPICAL))
            .see(newcomer);
        while self.used() + cost > limit {
            let Some(oldest) = self.trie.oldest(&mut self.hand, turn, SAMPLE) else {
                return false;
            };
            let leaf = self.trie.leaf(oldest);
            if leaf.uses() >= seen {
                leaf.age();
                return false;
            }
            let mark = self.trie.remove(oldest);
            self.release(mark);
        }
        true
    }

    fn insert(
        &mut self,
        policy: usize,
        trace: &[(Question, Fingerprint)],
        mark: Fingerprint,
        turn: u32,
        decided: &Arc<Decided>,
    ) -> Keeping {
        let Self {
            trie, decisions, bytes, ..
        } = self;
        let shared = || {
            let shared = decisions.entry(mark).or_insert_with(|| {
                *bytes += decided.weight();
                Shared {
                    decided: decided.clone(),
                    leaves: 0,
                }
            });
            shared.leaves += 1;
            shared.decided.clone()
        };
        match trie.insert(policy, trace, mark, turn, shared) {
            Inserted::New | Inserted::Same => Keeping::Kept,
            Inserted::Contradiction => {
                for mark in self.trie.close(policy) {
                    self.release(mark);
                }
                Keeping::Tripped
            }
        }
    }

    fn release(&mut self, mark: Fingerprint) {
        let Some(shared) = self.decisions.get_mut(&mark) else {
            return;
        };
        shared.leaves -= 1;
        if shared.leaves == 0 {
            self.bytes -= shared.decided.weight();
            self.decisions.remove(&mark);
        }
    }
}

#[cfg(test)]
mod tests;
