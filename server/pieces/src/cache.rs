//! [`Cache`]: the directory, what is known of it, and what becomes of it when the disk fails.
use crate::{
    Options,
    counts::{Complaint, Counters, Counts, add},
    disk::Disk,
    fill::Fill,
    flight::{Flight, Waiter},
    index::{Class, Header},
    key::{Object, PieceKey},
    reader::Reader,
    segment::{Located, Segment},
    shelf::{Asking, Pieces, Place, Shelf},
    volume::{Layout, Lock, Volume},
};
use rustix::fs::fstat;
use std::{
    collections::HashMap,
    fmt, io,
    ops::Range,
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// A cache on local disk. Clones are the same one.
#[derive(Clone)]
pub struct Cache(pub(crate) Arc<Inner>);

/// Opens the directory, and makes it where it is missing: this user's alone, or an error.
pub type Opener = Box<dyn Fn() -> io::Result<OwnedFd> + Send + Sync>;

pub(crate) struct Inner {
    pub(crate) options: Options,
    pub(crate) disk: Arc<Disk>,
    pub(crate) counters: Counters,
    opener: Opener,
    state: Mutex<State>,
    /// One makes room at a time.
    keeper: Mutex<()>,
    opening: AtomicBool,
    disk_fails: Complaint,
    is_damaged: Complaint,
}

struct State {
    shelf: Shelf,
    flights: HashMap<PieceKey, Arc<Flight>>,
    /// None: not opened, lost, or given up.
    volume: Option<Arc<Volume>>,
    pause: Pause,
    retired: bool,
}

/// How long the disk is left alone after it failed.
struct Pause {
    until: Option<Instant>,
    next: Duration,
}

/// The first pause; each is twice as long as the one before, up to [`LONGEST_PAUSE`].
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Where a piece is, or how to get it.
pub(crate) enum Claim {
    Here(Located),
    /// This one began to have these pieces fetched, of which it is the first.
    Started {
        waiter: Waiter,
        pieces: Range<u64>,
    },
    /// Somebody else fetches it.
    Joined(Waiter),
    /// Not through the cache.
    Bypass,
}

/// A place that is being written to. Given back when dropped without having been published.
pub(crate) struct Reserved {
    inner: Arc<Inner>,
    pub(crate) place: Place,
    published: bool,
    /// No other process may use the directory before this is done.
    _lock: Arc<Lock>,
}

/// Why there is no place for a piece.
pub(crate) enum NoPlace {
    /// Whoever reads slowly holds too much of what was evicted, or there is no directory now.
    Room,
    Failed(io::Error),
}

// === impl Cache ===

impl Cache {
    /// A cache that is not open yet: everything is read from its store.
    pub fn new(options: Options, opener: Opener) -> Self {
        Self(Arc::new(Inner {
            options,
            disk: Arc::new(Disk::new()),
            counters: Counters::default(),
            opener,
            state: Mutex::new(State {
                shelf: Shelf::new(options),
                flights: HashMap::new(),
                volume: None,
                pause: Pause {
                    until: None,
                    next: PAUSE,
                },
                retired: false,
            }),
            keeper: Mutex::new(()),
            opening: AtomicBool::new(false),
            disk_fails: Complaint::default(),
            is_damaged: Complaint::default(),
        }))
    }

    /// Opens the directory and finds out what is in it, from the indexes alone. Blocks; 72 bytes are read for each piece.
    ///
    /// # Errors
    /// What the opener says; `ResourceBusy` when another process uses the directory. It is tried again later by itself:
    /// until then everything is read from its store.
    pub fn open(&self) -> io::Result<()> {
        let opened = self.0.open();
        if let Err(error) = &opened {
            self.0.pause(error);
        }
        opened
    }

    /// Leaves the directory to another process: what is on disk can be read on, and nothing is kept any more.
    pub fn retire(&self) {
        let mut state = self.0.state();
        state.retired = true;
        state.volume = None;
        state.shelf.close();
    }

    /// Reads bytes `range` of an object, which lie within its size.
    pub fn read(&self, object: &Object, range: Range<u64>) -> Reader {
        Reader::new(Arc::clone(&self.0), object.clone(), range)
    }

    pub fn counts(&self) -> Counts {
        let state = self.0.state();
        Counts {
            pieces: state.shelf.len() as u64,
            bytes: self.0.disk.bytes(),
            capacity: self.0.options.capacity,
            ..self.0.counters.read()
        }
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("options", &self.0.options)
            .finish_non_exhaustive()
    }
}

// === impl Inner ===

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> io::Result<()> {
        let _keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        if self.state().volume.is_some() {
            return Ok(());
        }
        let volume = Volume::open((self.opener)()?)?;
        self.disk.look_at(volume.folder())?;
        let layout = Layout {
            piece: self.options.piece,
            segment: self.options.segment(),
        };
        let (found, next) = volume.find(&layout, &self.disk)?;
        let shelf = Shelf::of(self.options, found, next);
        let volume = Arc::new(volume);
        {
            let mut state = self.state();
            if state.retired {
                return Ok(());
            }
            state.shelf = shelf;
            state.volume = Some(Arc::clone(&volume));
            state.pause.until = None;
        }
        self.make_room(&volume, 0);
        Ok(())
    }

    /// Where the first of the `wanted` pieces is, or a fetch of it and of those behind it that are missing too.
    pub(crate) fn claim(
        self: &Arc<Self>,
        object: &Object,
        wanted: Range<u64>,
        asking: Asking,
        reader: &Arc<()>,
    ) -> Claim {
        let key = object.piece(wanted.start);
        let mut state = self.state();
        if let Some(place) = state.shelf.find(&key, asking) {
            return Claim::Here(place);
        }
        if let Some(flight) = state.flights.get(&key) {
            return Claim::Joined(flight.join());
        }
        if !self.may_fill(&mut state) {
            return Claim::Bypass;
        }
        let fill = self.begin(&mut state, object, wanted, reader);
        let (waiter, pieces) = (fill.first(), fill.pieces());
        drop(state);
        tokio::spawn(fill.run());
        Claim::Started { waiter, pieces }
    }

    /// Has the first pieces fetched that are missing within `wanted`, and says which these are.
    pub(crate) fn prefetch(
        self: &Arc<Self>,
        object: &Object,
        wanted: Range<u64>,
        reader: &Arc<()>,
    ) -> Option<Range<u64>> {
        let mut state = self.state();
        let missing = |state: &State, index| {
            let key = object.piece(index);
            !state.shelf.has(&key) && !state.flights.contains_key(&key)
        };
        let index = wanted.clone().find(|index| missing(&state, *index))?;
        if !self.may_fill(&mut state) {
            return None;
        }
        let fill = self.begin(&mut state, object, index..wanted.end, reader);
        let pieces = fill.pieces();
        drop(state);
        tokio::spawn(fill.run());
        Some(pieces)
    }

    /// Where the next piece is that is there, from `index` on and before `until`.
    pub(crate) fn next_here(&self, object: &Object, index: u64, until: u64) -> u64 {
        let state = self.state();
        (index..until)
            .find(|index| state.shelf.has(&object.piece(*index)))
            .unwrap_or(until)
    }

    /// Of the pieces that are missing side by side, from the first wanted one on.
    fn begin(self: &Arc<Self>, state: &mut State, object: &Object, wanted: Range<u64>, reader: &Arc<()>) -> Fill {
        let mut flights = Vec::new();
        for index in wanted.clone() {
            let key = object.piece(index);
            if state.shelf.has(&key) || state.flights.contains_key(&key) {
                break;
            }
            let flight = Arc::new(Flight::new());
            state.flights.insert(key, Arc::clone(&flight));
            flights.push(flight);
        }
        Fill::new(
            Arc::clone(self),
            object.clone(),
            wanted.start,
            flights,
            Arc::downgrade(reader),
        )
    }

    /// Whether pieces can be kept now. Where the directory was lost, it is looked for again when its time has come.
    fn may_fill(self: &Arc<Self>, state: &mut State) -> bool {
        if state.retired || state.pause.until.is_some_and(|until| Instant::now() < until) {
            return false;
        }
        if state.volume.is_some() {
            return true;
        }
        if !self.opening.swap(true, Ordering::AcqRel) {
            let inner = Arc::clone(self);
            tokio::task::spawn_blocking(move || {
                if let Err(error) = inner.open() {
                    inner.pause(&error);
                }
                inner.opening.store(false, Ordering::Release);
            });
        }
        false
    }

    /// The piece is nobody's business any more.
    pub(crate) fn land(&self, key: &PieceKey) {
        self.state().flights.remove(key);
    }

    /// Finds a place for a piece, making room where there is none.
    pub(crate) async fn reserve(self: &Arc<Self>, key: &PieceKey, length: u32) -> Result<Reserved, NoPlace> {
        let class = self.state().shelf.class_of(key);
        loop {
            match self.take_place(class, length)? {
                Some(reserved) => return Ok(reserved),
                None => {
                    let inner = Arc::clone(self);
                    let begun = self.disk.run(move || Ok(inner.begin_segment(class, length))).await;
                    begun.map_err(NoPlace::Failed)??;
                    // The next one will find room without waiting for it.
                    let inner = Arc::clone(self);
                    tokio::spawn(async move {
                        let disk = Arc::clone(&inner.disk);
                        let tidied = disk.run(move || {
                            inner.tidy();
                            Ok(())
                        });
                        // Where the runtime ends first, room is made by the next one who needs it.
                        let _ = tidied.await;
                    });
                }
            }
        }
    }

    fn take_place(self: &Arc<Self>, class: Class, length: u32) -> Result<Option<Reserved>, NoPlace> {
        let mut state = self.state();
        let Some(volume) = &state.volume else {
            return Err(NoPlace::Room);
        };
        let lock = volume.lock();
        Ok(state.shelf.reserve(class, length).map(|place| Reserved {
            inner: Arc::clone(self),
            place,
            published: false,
            _lock: lock,
        }))
    }

    /// Begins a segment, unless somebody did in the meantime. Blocks.
    fn begin_segment(self: &Arc<Self>, class: Class, length: u32) -> Result<(), NoPlace> {
        let _keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        if self.take_place(class, length)?.is_some() {
            return Ok(());
        }
        let volume = self.state().volume.clone().ok_or(NoPlace::Room)?;
        // One more stays free, for what outlives a segment that goes.
        if !self.make_room(&volume, 2 * self.options.segment()) {
            return Err(NoPlace::Room);
        }
        self.create(&volume, class).map_err(NoPlace::Failed)
    }

    fn tidy(&self) {
        let _keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        let volume = self.state().volume.clone();
        if let Some(volume) = volume {
            self.make_room(&volume, 2 * self.options.segment());
        }
    }

    fn create(&self, volume: &Volume, class: Class) -> io::Result<()> {
        let header = Header {
            segment: self.state().shelf.number(),
            class,
            piece: self.options.piece,
        };
        let (segment, index) = volume.create(header, self.options.segment(), &self.disk)?;
        let mut state = self.state();
        if state.volume.is_some() {
            state.shelf.begin(Arc::new(segment), index);
            state.pause.next = PAUSE;
        }
        Ok(())
    }

    /// Evicts until there are so many bytes of room. False: there cannot be, because what was evicted is being read.
    /// Called by the keeper. Blocks.
    fn make_room(&self, volume: &Volume, room: u64) -> bool {
        loop {
            if self.disk.bytes().saturating_add(room) <= self.options.capacity {
                return true;
            }
            let victim = {
                let mut state = self.state();
                let held = self.disk.bytes().saturating_sub(state.shelf.listed());
                // Readers that are slow shall not empty the cache for the others.
                if held > self.options.capacity / 4 {
                    return false;
                }
                state.shelf.victim()
            };
            match victim {
                Some((victim, survivors)) => self.evict(volume, &victim, survivors),
                None => return false,
            }
        }
    }

    fn evict(&self, volume: &Volume, victim: &Arc<Segment>, survivors: Pieces) {
        for (key, from) in survivors {
            match self.copy(volume, &key, &from) {
                Ok(Some(to)) => {
                    add(&self.counters.moved_bytes, from.length.into());
                    self.state().shelf.moved(key, &from, to);
                }
                Ok(None) => break,
                Err(error) if error.kind() == io::ErrorKind::InvalidData => self.damaged(&key, &from, &error),
                Err(error) => {
                    self.pause(&error);
                    break;
                }
            }
        }
        let gone = self.state().shelf.forget(victim);
        volume.remove(victim.id);
        add(&self.counters.evicted, gone.pieces);
        add(&self.counters.evicted_bytes, gone.bytes);
    }

    /// Copies a piece to a proven segment. `None`: there is no room for that.
    fn copy(&self, volume: &Volume, key: &PieceKey, from: &Located) -> io::Result<Option<Located>> {
        let reserve = || self.state().shelf.reserve(Class::Proven, from.length);
        let mut place = reserve();
        if place.is_none() && self.disk.bytes() + self.options.segment() <= self.options.capacity {
            self.create(volume, Class::Proven)?;
            place = reserve();
        }
        let Some(place) = place else { return Ok(None) };
        let mut at = place.offset;
        let copied = from
            .check(|bytes| {
                place.segment.write(bytes, at)?;
                at += bytes.len() as u64;
                Ok(())
            })
            .and_then(|()| place.enter(key, from.sum));
        match copied {
            Ok(located) => Ok(Some(located)),
            Err(error) => {
                self.state().shelf.give_back(&place);
                Err(error)
            }
        }
    }

    /// Makes a piece known that is on disk as a whole.
    pub(crate) fn publish(&self, key: PieceKey, place: Located) {
        self.state().shelf.publish(key, place);
    }

    pub(crate) fn verified(&self, key: &PieceKey, place: &Located) {
        self.state().shelf.verified(key, place);
    }

    /// A piece cannot be read, or is not what was written: it will be fetched again.
    pub(crate) fn damaged(&self, key: &PieceKey, place: &Located, error: &io::Error) {
        add(&self.counters.damaged, 1);
        self.state().shelf.damaged(key, place);
        if self.is_damaged.is_due() {
            tracing::warn!(%error, "a piece in the disk cache cannot be used: it is fetched again (further ones are only counted for a minute)");
        }
    }

    /// The disk failed: it is left alone for a while. Where the directory is gone, all that was in it is.
    pub(crate) fn pause(&self, error: &io::Error) {
        add(&self.counters.troubles, 1);
        let mut state = self.state();
        let is_gone = |volume: &Volume| fstat(volume.folder()).map_or(true, |stat| stat.st_nlink == 0);
        if state.volume.as_ref().is_some_and(|volume| is_gone(volume)) {
            state.volume = None;
            state.shelf = Shelf::new(self.options);
        }
        let pause = state.pause.next;
        state.pause.until = Some(Instant::now() + pause);
        state.pause.next = (pause * 2).min(LONGEST_PAUSE);
        drop(state);
        if self.disk_fails.is_due() {
            tracing::warn!(
                %error,
                "the disk cache cannot keep anything now: objects are served from their store, and it is tried again (further failures are only counted for a minute)"
            );
        }
    }
}

// === impl Place ===

impl Place {
    /// Writes the entry of a piece that was written to this place. Blocks.
    pub(crate) fn enter(&self, key: &PieceKey, sum: u64) -> io::Result<Located> {
        use std::os::unix::fs::FileExt;
        let entry = crate::index::Entry {
            key: *key,
            offset: self.offset,
            length: self.length,
            sum,
        };
        let at = self.slot * crate::index::ENTRY as u64;
        self.index.write_all_at(&entry.encode(self.segment.id), at)?;
        Ok(Located {
            segment: Arc::clone(&self.segment),
            offset: self.offset,
            length: self.length,
            sum,
            verified: true,
        })
    }
}

// === impl Reserved ===

impl Reserved {
    /// From now on the place is read from.
    pub(crate) fn publish(mut self, key: PieceKey, place: Located) {
        self.published = true;
        self.inner.publish(key, place);
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if !self.published {
            self.inner.state().shelf.give_back(&self.place);
        }
    }
}
