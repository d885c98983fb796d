//! What is known of the pieces on disk, in memory: where each is, and which goes next.
//!
//! The policy is S3-FIFO (Yang et al., "FIFO queues are all you need for cache eviction", 2023) on whole segments. New
//! pieces go to *probation*, a tenth of the room once the rest is wanted. When a segment of it goes, the pieces that were
//! asked for again move to the *proven* ones; of the others a few bytes are remembered for a while, and whichever of these
//! comes back is proven at once. When a proven segment goes, what was asked for since moves to a new one. So whoever reads
//! everything once passes through probation and displaces nothing that is used.
//!
//! A segment of which half or more would move is not copied: it stays where it is and counts as proven. So each segment that
//! goes makes room, and at most one byte is copied for each that is fetched.
//!
//! No input or output here.
use crate::{
    Options,
    index::{Class, ENTRY},
    key::PieceKey,
    segment::{Located, OVERHEAD, Segment},
    volume::Found,
};
use std::{
    collections::{HashMap, HashSet, VecDeque},
    fs::File,
    sync::Arc,
};

/// Times that a piece was asked for are counted up to here.
const MOST_HITS: u8 = 3;
/// Probation's share of the room: one part in so many.
const PROBATION: u64 = 10;
/// Places that failed fetches gave back, of one segment.
const HOLES: usize = 64;

pub(crate) struct Shelf {
    options: Options,
    pieces: HashMap<PieceKey, Kept>,
    segments: HashMap<u64, Listed>,
    probation: Option<Active>,
    proven: Option<Active>,
    ghosts: Ghosts,
    /// The next number of a segment.
    next: u64,
    /// The next place in a queue.
    turn: u64,
}

struct Kept {
    place: Located,
    hits: u8,
}

struct Listed {
    segment: Arc<Segment>,
    class: Class,
    /// Its place in the queue.
    turn: u64,
    /// Of all pieces that were put into it; some may be elsewhere by now.
    keys: Vec<PieceKey>,
}

/// A segment that more is put into.
struct Active {
    segment: Arc<Segment>,
    index: Arc<File>,
    end: u64,
    slots: u64,
    charged: u64,
    /// Places that nobody has ever read from.
    holes: Vec<Hole>,
}

struct Hole {
    offset: u64,
    length: u32,
    slot: u64,
}

/// A place for a piece, and for its entry in the index.
pub(crate) struct Place {
    pub(crate) segment: Arc<Segment>,
    pub(crate) index: Arc<File>,
    pub(crate) offset: u64,
    pub(crate) length: u32,
    pub(crate) slot: u64,
}

/// Pieces that left probation unread.
#[derive(Default)]
struct Ghosts {
    order: VecDeque<u64>,
    present: HashSet<u64>,
}

/// What went with a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Gone {
    pub(crate) pieces: u64,
    pub(crate) bytes: u64,
}

/// Some pieces, and where they are.
pub(crate) type Pieces = Vec<(PieceKey, Located)>;

/// Whether asking for a piece says that it is wanted again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asking {
    Again,
    /// By who had it fetched.
    First,
}

// === impl Shelf ===

impl Shelf {
    pub(crate) fn new(options: Options) -> Self {
        Self {
            options,
            pieces: HashMap::new(),
            segments: HashMap::new(),
            probation: None,
            proven: None,
            ghosts: Ghosts::default(),
            next: 0,
            turn: 0,
        }
    }

    /// A shelf of what was found, oldest first. The newest segment of each class that has room is continued.
    pub(crate) fn of(options: Options, found: Vec<Found>, next: u64) -> Self {
        let mut shelf = Self::new(options);
        shelf.next = next;
        for found in found {
            let segment = Arc::new(found.segment);
            let mut charged = 0;
            let mut keys = Vec::with_capacity(found.entries.len());
            for entry in found.entries {
                charged += options.charge(entry.length);
                keys.push(entry.key);
                let place = Located {
                    segment: Arc::clone(&segment),
                    offset: entry.offset,
                    length: entry.length,
                    sum: entry.sum,
                    verified: false,
                };
                shelf.pieces.insert(entry.key, Kept { place, hits: 0 });
            }
            let written = found.end + found.slots * ENTRY as u64;
            let charged = charged.max(written);
            segment.recharge(OVERHEAD + charged);
            shelf.list(&segment, keys);
            if OVERHEAD + charged + options.charge(options.piece) <= options.segment() {
                let active = Active {
                    segment,
                    index: Arc::new(found.index),
                    end: found.end,
                    slots: found.slots,
                    charged,
                    holes: Vec::new(),
                };
                let class = active.segment.class;
                *shelf.active(class) = Some(active);
            }
        }
        for class in [Class::Probation, Class::Proven] {
            if let Some(active) = shelf.active(class) {
                active.segment.recharge(options.segment());
            }
        }
        shelf
    }

    /// At the end of the queue of its class.
    fn list(&mut self, segment: &Arc<Segment>, keys: Vec<PieceKey>) {
        let turn = self.take_turn();
        let listed = Listed {
            segment: Arc::clone(segment),
            class: segment.class,
            turn,
            keys,
        };
        self.segments.insert(segment.id, listed);
    }

    fn take_turn(&mut self) -> u64 {
        self.turn += 1;
        self.turn
    }

    /// Only reads from now on: nothing can be put anywhere.
    pub(crate) fn close(&mut self) {
        (self.probation, self.proven) = (None, None);
    }

    fn active(&mut self, class: Class) -> &mut Option<Active> {
        match class {
            Class::Probation => &mut self.probation,
            Class::Proven => &mut self.proven,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.pieces.len()
    }

    /// Bytes laid to segments that still have their names.
    pub(crate) fn listed(&self) -> u64 {
        self.segments.values().map(|listed| listed.segment.charge()).sum()
    }

    pub(crate) fn has(&self, key: &PieceKey) -> bool {
        self.pieces.contains_key(key)
    }

    pub(crate) fn find(&mut self, key: &PieceKey, asking: Asking) -> Option<Located> {
        let kept = self.pieces.get_mut(key)?;
        if asking == Asking::Again {
            kept.hits = (kept.hits + 1).min(MOST_HITS);
        }
        Some(kept.place.clone())
    }

    /// The class that a piece begins in.
    pub(crate) fn class_of(&mut self, key: &PieceKey) -> Class {
        if self.ghosts.take(key.short()) {
            Class::Proven
        } else {
            Class::Probation
        }
    }

    /// A place in the segment that is being filled; `None`: there has to be a new one first.
    pub(crate) fn reserve(&mut self, class: Class, length: u32) -> Option<Place> {
        let (charge, most) = (self.options.charge(length), self.options.segment());
        let active = self.active(class).as_mut()?;
        let hole = active.holes.iter().position(|hole| hole.length >= length);
        let (offset, slot) = match hole {
            Some(hole) => {
                let hole = active.holes.swap_remove(hole);
                (hole.offset, hole.slot)
            }
            None if OVERHEAD + active.charged + charge <= most => {
                let place = (active.end, active.slots);
                active.end += u64::from(length);
                active.slots += 1;
                active.charged += charge;
                place
            }
            None => return None,
        };
        Some(Place {
            segment: Arc::clone(&active.segment),
            index: Arc::clone(&active.index),
            offset,
            length,
            slot,
        })
    }

    /// Takes back a place of which nobody was told, and to which nobody writes any more.
    pub(crate) fn give_back(&mut self, place: &Place) {
        let active = self.active(place.segment.class).as_mut();
        if let Some(active) = active.filter(|active| active.segment.id == place.segment.id)
            && active.holes.len() < HOLES
        {
            active.holes.push(Hole {
                offset: place.offset,
                length: place.length,
                slot: place.slot,
            });
        }
    }

    /// Makes a piece that is whole and written known. When its segment went in the meantime, it is not.
    pub(crate) fn publish(&mut self, key: PieceKey, place: Located) {
        let listed = self.segments.get_mut(&place.segment.id);
        if let Some(listed) = listed.filter(|listed| Arc::ptr_eq(&listed.segment, &place.segment)) {
            listed.keys.push(key);
            self.pieces.insert(key, Kept { place, hits: 0 });
        }
    }

    /// Its checksum held.
    pub(crate) fn verified(&mut self, key: &PieceKey, place: &Located) {
        if let Some(kept) = self.at(key, place) {
            kept.place.verified = true;
        }
    }

    /// It cannot be read.
    pub(crate) fn damaged(&mut self, key: &PieceKey, place: &Located) {
        if self.at(key, place).is_some() {
            self.pieces.remove(key);
        }
    }

    fn at(&mut self, key: &PieceKey, place: &Located) -> Option<&mut Kept> {
        let kept = self.pieces.get_mut(key)?;
        (Arc::ptr_eq(&kept.place.segment, &place.segment) && kept.place.offset == place.offset).then_some(kept)
    }

    /// The number of a segment that is to be made.
    pub(crate) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    /// Fills this one from now on, and no longer the one before it.
    pub(crate) fn begin(&mut self, segment: Arc<Segment>, index: File) {
        let class = segment.class;
        self.list(&segment, Vec::new());
        let active = Active {
            segment,
            index: Arc::new(index),
            end: 0,
            // The header.
            slots: 1,
            charged: 0,
            holes: Vec::new(),
        };
        if let Some(full) = self.active(class).replace(active) {
            full.segment.recharge(OVERHEAD + full.charged);
        }
    }

    /// The segment that goes next, and what of it is worth moving.
    pub(crate) fn victim(&mut self) -> Option<(Arc<Segment>, Pieces)> {
        // Each time that a segment stays its pieces count for less.
        for _ in 0..=self.segments.len() * usize::from(MOST_HITS + 1) {
            let victim = self.first()?;
            let wanted = self.wanted(&victim);
            let bytes: u64 = wanted.iter().map(|(_, place)| self.options.charge(place.length)).sum();
            if bytes * 2 < victim.charge() {
                return Some((victim, wanted));
            }
            self.stay(&victim, &wanted);
        }
        Some((self.first()?, Vec::new()))
    }

    /// The one whose turn it is.
    fn first(&self) -> Option<Arc<Segment>> {
        let active = [&self.probation, &self.proven];
        let is_active = |id| {
            active
                .iter()
                .any(|active| active.as_ref().is_some_and(|active| active.segment.id == id))
        };
        let of = |class| self.segments.values().filter(move |listed| listed.class == class);
        let oldest = |class| {
            of(class)
                .filter(|listed| !is_active(listed.segment.id))
                .min_by_key(|listed| listed.turn)
                .map(|listed| Arc::clone(&listed.segment))
        };
        let probation: u64 = of(Class::Probation).map(|listed| listed.segment.charge()).sum();
        let share = (self.options.capacity / PROBATION).max(self.options.segment());
        let (first, second) = if probation > share {
            (Class::Probation, Class::Proven)
        } else {
            (Class::Proven, Class::Probation)
        };
        oldest(first).or_else(|| oldest(second))
    }

    /// What of a segment was asked for since it came there.
    fn wanted(&self, segment: &Arc<Segment>) -> Pieces {
        let keys = self.segments.get(&segment.id).map_or(&[][..], |listed| &listed.keys);
        keys.iter()
            .filter_map(|key| Some((key, self.pieces.get(key)?)))
            .filter(|(_, kept)| kept.hits > 0 && Arc::ptr_eq(&kept.place.segment, segment))
            .map(|(key, kept)| (*key, kept.place.clone()))
            .collect()
    }

    /// A segment is proven as it is.
    fn stay(&mut self, segment: &Arc<Segment>, wanted: &Pieces) {
        for (key, _) in wanted {
            if let Some(kept) = self.pieces.get_mut(key) {
                kept.hits -= 1;
            }
        }
        let turn = self.take_turn();
        if let Some(listed) = self.segments.get_mut(&segment.id) {
            (listed.class, listed.turn) = (Class::Proven, turn);
        }
    }

    /// A piece is at another place now.
    pub(crate) fn moved(&mut self, key: PieceKey, from: &Located, to: Located) {
        let Some(hits) = self.at(&key, from).map(|kept| kept.hits) else {
            return;
        };
        self.publish(key, to);
        if let Some(kept) = self.pieces.get_mut(&key) {
            kept.hits = hits.saturating_sub(1);
        }
    }

    /// Forgets a segment, and what is in it.
    pub(crate) fn forget(&mut self, victim: &Arc<Segment>) -> Gone {
        let mut gone = Gone::default();
        let Some(listed) = self.segments.remove(&victim.id) else {
            return gone;
        };
        for key in listed.keys {
            let Some(kept) = self.pieces.get(&key) else { continue };
            if !Arc::ptr_eq(&kept.place.segment, victim) {
                continue;
            }
            gone.pieces += 1;
            gone.bytes += u64::from(kept.place.length);
            if listed.class == Class::Probation {
                self.ghosts.put(key.short());
            }
            self.pieces.remove(&key);
        }
        self.ghosts.keep(self.pieces.len().max(1024));
        gone
    }
}

// === impl Ghosts ===

impl Ghosts {
    fn put(&mut self, ghost: u64) {
        if self.present.insert(ghost) {
            self.order.push_back(ghost);
        }
    }

    /// Whether it was there. It leaves the order when its turn comes.
    fn take(&mut self, ghost: u64) -> bool {
        self.present.remove(&ghost)
    }

    fn keep(&mut self, most: usize) {
        while self.order.len() > most {
            if let Some(oldest) = self.order.pop_front() {
                self.present.remove(&oldest);
            }
        }
    }
}
