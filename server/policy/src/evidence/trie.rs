//! The trie of questions and answers: a node is a question, its branches are answers, a leaf is the decision that they led to.
//!
//! One trie holds the decisions of all policies of a chain, each beneath a root of its own, so that one bound counts for all.
use super::Fingerprint;
use crate::{decided::Decided, questions::Question};
use slab::Slab;
use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    mem::size_of,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU32, Ordering},
    },
};

/// What a hash table takes for an entry beside the entry itself: a control byte and free slots (7/8 full at most, half
/// that after it grew).
const TABLE_OVERHEAD: usize = 24;
const BRANCH: usize = size_of::<(Fingerprint, Next)>() + TABLE_OVERHEAD;
const NODE: usize = size_of::<Node>() + 64;
const LEAF: usize = size_of::<Leaf>() + 8;
/// More uses than this do not count.
const MAX_USES: u8 = 15;

#[derive(Debug)]
pub(super) struct Trie {
    roots: Vec<Root>,
    nodes: Slab<Node>,
    leaves: Slab<Leaf>,
    bytes: usize,
}

/// Where the questions of a policy begin.
#[derive(Debug)]
enum Root {
    Open(Option<Next>),
    /// Nothing is kept for this policy.
    Closed,
}

#[derive(Debug)]
struct Node {
    question: Question,
    branches: HashMap<Fingerprint, Next, BuildHasherDefault<KeyedAlready>>,
    place: Place,
}

#[derive(Clone, Copy, Debug)]
enum Next {
    Ask(usize),
    Leaf(usize),
}

/// What leads to a node or a leaf.
#[derive(Clone, Copy, Debug)]
enum Place {
    Root(usize),
    Branch(usize, Fingerprint),
}

#[derive(Debug)]
pub(super) struct Leaf {
    pub decided: Arc<Decided>,
    /// The fingerprint of the decision.
    pub mark: Fingerprint,
    place: Place,
    /// The turn of the last use.
    last: AtomicU32,
    uses: AtomicU8,
}

/// What became of a decision that was to be inserted.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Inserted {
    New,
    /// The same decision was there.
    Same,
    /// The same answers led to another question, or to another decision.
    Contradiction,
}

impl Trie {
    /// With a root for each policy; nothing is kept for those that `keeps` says `false` for.
    pub fn new(keeps: &[bool]) -> Self {
        let roots = keeps
            .iter()
            .map(|keeps| if *keeps { Root::Open(None) } else { Root::Closed })
            .collect();
        Self {
            roots,
            nodes: Slab::new(),
            leaves: Slab::new(),
            bytes: 0,
        }
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn len(&self) -> usize {
        self.leaves.len()
    }

    pub fn is_open(&self, policy: usize) -> bool {
        matches!(self.roots.get(policy), Some(Root::Open(_)))
    }

    /// Follows the answers to a decision.
    pub fn find(&self, policy: usize, mut answer: impl FnMut(&Question) -> Fingerprint) -> Option<&Leaf> {
        let Root::Open(next) = self.roots.get(policy)? else {
            return None;
        };
        let mut next = (*next)?;
        loop {
            match next {
                Next::Leaf(leaf) => return self.leaves.get(leaf),
                Next::Ask(node) => {
                    let node = self.nodes.get(node)?;
                    next = *node.branches.get(&answer(&node.question))?;
                }
            }
        }
    }

    /// The most that inserting a decision can add, beside the decision itself.
    pub fn cost(trace: &[(Question, Fingerprint)]) -> usize {
        LEAF + trace
            .iter()
            .map(|(question, _)| NODE + BRANCH + question.text_length())
            .sum::<usize>()
    }

    /// Inserts what `decided` gives for a trace.
    pub fn insert(
        &mut self,
        policy: usize,
        trace: &[(Question, Fingerprint)],
        mark: Fingerprint,
        turn: u32,
        decided: impl FnOnce() -> Arc<Decided>,
    ) -> Inserted {
        let mut place = Place::Root(policy);
        for (question, answer) in trace {
            let node = match self.next(place) {
                None => self.add_node(question.clone(), place),
                Some(Next::Ask(node)) if self.nodes[node].question == *question => node,
                Some(_) => return Inserted::Contradiction,
            };
            place = Place::Branch(node, *answer);
        }
        match self.next(place) {
            None => {
                let leaf = Leaf {
                    decided: decided(),
                    mark,
                    place,
                    last: turn.into(),
                    uses: 0.into(),
                };
                let leaf = self.leaves.insert(leaf);
                self.bytes += LEAF;
                self.set_next(place, Next::Leaf(leaf));
                Inserted::New
            }
            Some(Next::Leaf(leaf)) if self.leaves[leaf].mark == mark => Inserted::Same,
            Some(_) => Inserted::Contradiction,
        }
    }

    fn next(&self, place: Place) -> Option<Next> {
        match place {
            Place::Root(policy) => match self.roots[policy] {
                Root::Open(next) => next,
                Root::Closed => None,
            },
            Place::Branch(node, answer) => self.nodes[node].branches.get(&answer).copied(),
        }
    }

    fn set_next(&mut self, place: Place, next: Next) {
        match place {
            Place::Root(policy) => self.roots[policy] = Root::Open(Some(next)),
            Place::Branch(node, answer) => {
                self.nodes[node].branches.insert(answer, next);
                self.bytes += BRANCH;
            }
        }
    }

    fn add_node(&mut self, question: Question, place: Place) -> usize {
        self.bytes += NODE + question.text_length();
        let node = self.nodes.insert(Node {
            question,
            branches: HashMap::default(),
            place,
        });
        self.set_next(place, Next::Ask(node));
        node
    }

    /// The least recently used of some leaves, which begin at `hand`.
    pub fn oldest(&self, hand: &mut usize, turn: u32, sample: usize) -> Option<usize> {
        let size = self.leaves.capacity().max(1);
        let mut oldest: Option<(u32, usize)> = None;
        let mut looked = 0;
        for _ in 0..size {
            *hand = (*hand + 1) % size;
            let Some(leaf) = self.leaves.get(*hand) else { continue };
            let age = turn.wrapping_sub(leaf.last.load(Ordering::Relaxed));
            if oldest.is_none_or(|(oldest, _)| age > oldest) {
                oldest = Some((age, *hand));
            }
            looked += 1;
            if looked == sample {
                break;
            }
        }
        oldest.map(|(_, leaf)| leaf)
    }

    pub fn leaf(&self, leaf: usize) -> &Leaf {
        &self.leaves[leaf]
    }

    /// Removes a leaf and the questions that led to it alone, and gives its mark.
    pub fn remove(&mut self, leaf: usize) -> Fingerprint {
        let Leaf { mark, mut place, .. } = self.leaves.remove(leaf);
        self.bytes -= LEAF;
        loop {
            match place {
                Place::Root(policy) => {
                    self.roots[policy] = Root::Open(None);
                    return mark;
                }
                Place::Branch(node, answer) => {
                    self.nodes[node].branches.remove(&answer);
                    self.bytes -= BRANCH;
                    if !self.nodes[node].branches.is_empty() {
                        return mark;
                    }
                    let node = self.nodes.remove(node);
                    self.bytes -= NODE + node.question.text_length();
                    place = node.place;
                }
            }
        }
    }

    /// Removes everything of a policy and keeps nothing of it from now on. Gives the marks of what was removed.
    pub fn close(&mut self, policy: usize) -> Vec<Fingerprint> {
        let of_policy = |trie: &Self, leaf: &Leaf| {
            let mut place = leaf.place;
            loop {
                match place {
                    Place::Root(root) => return root == policy,
                    Place::Branch(node, _) => place = trie.nodes[node].place,
                }
            }
        };
        let leaves: Vec<usize> = self
            .leaves
            .iter()
            .filter(|(_, leaf)| of_policy(self, leaf))
            .map(|(at, _)| at)
            .collect();
        let marks = leaves.into_iter().map(|leaf| self.remove(leaf)).collect();
        self.roots[policy] = Root::Closed;
        marks
    }
}

// === impl Leaf ===

impl Leaf {
    /// Takes note of a use. Writes only what changes, so that processors share the line of a leaf that is used a lot.
    pub fn touch(&self, turn: u32) {
        if self.last.load(Ordering::Relaxed) != turn {
            self.last.store(turn, Ordering::Relaxed);
        }
        let uses = self.uses.load(Ordering::Relaxed);
        if uses < MAX_USES {
            self.uses.store(uses + 1, Ordering::Relaxed);
        }
    }

    pub fn uses(&self) -> u8 {
        self.uses.load(Ordering::Relaxed)
    }

    /// What was used a lot, long ago, has to make room one day.
    pub fn age(&self) {
        self.uses.store(self.uses().saturating_sub(1), Ordering::Relaxed);
    }
}

/// Fingerprints are the output of a keyed hash already.
#[derive(Default)]
struct KeyedAlready(u64);

impl Hasher for KeyedAlready {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
    fn write_u64(&mut self, half: u64) {
        self.0 ^= half;
    }
}
