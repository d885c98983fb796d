//! Directories listed: what can be had from a directory, as a page or as JSON, streamed.
//!
//! Memory is bounded whatever the directory holds. Up to 10,000 entries are collected and sorted, within a budget that
//! all listings of a site share; what is beyond either is streamed in the file system's own order, and says so. Reading
//! and asking about entries runs on the blocking pool, one piece at a time, when the client is ready for it.
mod page;
mod pages;

use crate::{
    Content, Dotfiles, Found, Lookup, SitePath, Stream, Symlinks,
    beneath::Patience,
    coding::{Weight, q_value},
    content::Reading,
    device::Device,
    fields,
    opened::{self, Whereabouts},
    search::{Scope, failed},
    stat::{Freshness, Stat, Timestamp},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header::ACCEPT};
use page::Page;
use pages::Pages;
use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{Dir, FileType},
    io::Errno,
};
use std::{
    ffi::CStr,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Directories of up to this many entries are sorted.
const SORTED: usize = 10_000;

/// KiB that sorted listings of a site may hold at once, and how they are taken.
pub(crate) const MEMORY: usize = 32 << 10;
const STEP: usize = 64;

/// What an entry takes beside its name.
const ITEM: usize = size_of::<Item>();

/// About how much is made at a time.
const CHUNK: usize = 32 << 10;

/// The entries of a directory, as a page or as JSON.
pub struct Listing {
    /// HTML or JSON, as Accept asked.
    pub content_type: HeaderValue,
    pub content: Content,
}

/// What can be had from a directory.
struct Item {
    name: String,
    kind: Kind,
    length: u64,
    /// Directories of a store have none.
    modified: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Directory,
    File,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Html,
    Json,
}

/// `?sort=name|size|time&order=asc|desc`; directories come first in any order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Order {
    by: By,
    direction: Direction,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Name,
    Size,
    Time,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Ascending,
    Descending,
}

/// A directory that is open for listing.
struct Directory {
    scope: Scope,
    /// Beneath the scope, without slashes around it.
    path: String,
    whereabouts: Option<Whereabouts>,
    handle: OwnedFd,
    entries: Dir,
}

/// What makes the listing, piece by piece.
struct Producer {
    page: Page,
    stage: Stage,
    collected: std::vec::IntoIter<Item>,
    rest: Rest,
    /// What the collected ones take.
    _memory: Memory,
}

/// Entries that were not collected.
enum Rest {
    None,
    Directory(Box<Directory>),
    Pages(Box<Pages>),
}

/// What collected entries may take of the budget of all listings of a site.
#[derive(Default)]
struct Memory(Option<OwnedSemaphorePermit>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Head,
    Entries,
    Ended,
}

// === impl Listing ===

impl Listing {
    /// The page with its Content-Type.
    pub fn into_content(self) -> (HeaderValue, Content) {
        (self.content_type, self.content)
    }
}

impl Scope {
    /// The listing of a directory that a search led to.
    pub(crate) async fn list(&self, target: &SitePath, lookup: &Lookup<'_>) -> Found {
        let format = Format::wanted(lookup.headers);
        let order = Order::of(lookup.query.unwrap_or_default());
        let page = Page::new(format, order, lookup.path);
        let (scope, path) = (self.clone(), target.relative().to_owned());
        let ahead = self.root.device_ahead(&self.base, &path);
        let opening = self.root.elsewhere(ahead, move || {
            let opened = Directory::open(&scope, &path).and_then(|(directory, device)| {
                let producer = Producer::collect(directory, page, order)?;
                Ok((producer, device))
            });
            opened.map_err(|errno| opened::sort(errno, &scope.root, &path, Patience::AsLongAsItTakes))
        });
        let (producer, device) = match opening.await {
            Ok(opened) => opened,
            Err(trouble) => return failed(trouble),
        };
        producer.found(format, Some(device))
    }
}

// === impl Directory ===

impl Directory {
    /// Blocks.
    fn open(scope: &Scope, path: &str) -> Result<(Self, Arc<Device>), Errno> {
        let (root, base) = (&scope.root, &scope.base);
        let located = root
            .method
            .locate(base.as_fd(), path, root.options.symlinks, Patience::AsLongAsItTakes)?;
        let stat = Stat::of(&located.handle, Freshness::Asked)?;
        if stat.kind != FileType::Directory {
            return Err(Errno::NOTDIR);
        }
        let whereabouts = opened::admit(&located, base, &stat, &scope.protected, Patience::AsLongAsItTakes)?;
        let device = Device::of(stat.identity.device, &located.handle)?;
        let entries = Dir::new(located.open_for_reading()?)?;
        let (scope, path, handle) = (scope.clone(), path.to_owned(), located.handle);
        Ok((
            Self {
                scope,
                path,
                whereabouts,
                handle,
                entries,
            },
            device,
        ))
    }

    /// The next entry that can be had; `None` at the end. Blocks.
    fn next(&mut self) -> Result<Option<Item>, Errno> {
        while let Some(entry) = self.entries.read() {
            let entry = entry?;
            // One that was deleted meanwhile, or cannot be had, is left out; its neighbours can.
            if let Ok(Some(item)) = self.item(entry.file_name()) {
                return Ok(Some(item));
            }
        }
        Ok(None)
    }

    /// What a name stands for, if a client can have it: a name that a path can hold, not hidden, not protected, a regular
    /// file or a directory, or a link to one of these that is followed.
    fn item(&self, name: &CStr) -> Result<Option<Item>, Errno> {
        let options = &self.scope.root.options;
        let Ok(text) = name.to_str() else { return Ok(None) };
        if !is_told(text, options.dotfiles) {
            return Ok(None);
        }
        let mut stat = Stat::of_entry(&self.handle, name)?;
        if stat.kind == FileType::Symlink {
            if options.symlinks == Symlinks::Deny {
                return Ok(None);
            }
            // Followed from the base, as a request for it would be, and so confined by it.
            let path = if self.path.is_empty() {
                text.to_owned()
            } else {
                format!("{}/{text}", self.path)
            };
            let scope = &self.scope;
            let located =
                scope
                    .root
                    .method
                    .locate(scope.base.as_fd(), &path, options.symlinks, Patience::AsLongAsItTakes)?;
            stat = Stat::of(&located.handle, Freshness::Asked)?;
            opened::admit(
                &located,
                &scope.base,
                &stat,
                &scope.protected,
                Patience::AsLongAsItTakes,
            )?;
        } else if let Some(whereabouts) = &self.whereabouts {
            whereabouts
                .of_entry(text)
                .admit(&stat, &self.scope.protected, Patience::AsLongAsItTakes)?;
        }
        let kind = match stat.kind {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Directory,
            _ => return Ok(None),
        };
        Ok(Some(Item {
            name: text.to_owned(),
            kind,
            length: stat.length,
            modified: Some(stat.modified),
        }))
    }
}

// === impl Producer ===

impl Producer {
    /// Reads as many entries as may be sorted. Blocks.
    fn collect(mut directory: Directory, page: Page, order: Order) -> Result<Self, Errno> {
        let budget = Arc::clone(&directory.scope.shared.listing_memory);
        let mut memory = Memory::default();
        let (mut items, mut taken) = (Vec::new(), 0);
        let rest = loop {
            if items.len() > SORTED || !memory.holds(taken, &budget) {
                break Rest::Directory(Box::new(directory));
            }
            let Some(item) = directory.next()? else {
                break Rest::None;
            };
            taken += item.takes();
            items.push(item);
        };
        Ok(Self::new(page, order, items, rest, memory))
    }

    fn new(mut page: Page, order: Order, mut items: Vec<Item>, rest: Rest, memory: Memory) -> Self {
        match rest {
            Rest::None => order.sort(&mut items),
            Rest::Directory(_) | Rest::Pages(_) => page.is_unsorted(),
        }
        Self {
            page,
            stage: Stage::Head,
            collected: items.into_iter(),
            rest,
            _memory: memory,
        }
    }

    /// Pieces that have to be waited for are made where `device` is waited for, or where a store is asked.
    fn found(self, format: Format, device: Option<Arc<Device>>) -> Found {
        let content = Content::Stream(Box::pin(Chunks {
            device,
            state: State::Ready(Box::new(self)),
        }));
        Found::Listing(Listing {
            content_type: format.content_type(),
            content,
        })
    }

    /// Whether making the next piece has to be waited for.
    fn blocks(&self) -> bool {
        self.stage == Stage::Entries && self.collected.len() == 0 && !matches!(self.rest, Rest::None)
    }

    /// The next piece, when it has to be waited for.
    async fn wait(mut self: Box<Self>, device: Option<Arc<Device>>) -> io::Result<(Option<Bytes>, Box<Self>)> {
        if let Some(device) = device {
            return device.readers.run(move || Ok((self.next_chunk()?, self))).await?;
        }
        while let Rest::Pages(pages) = &mut self.rest
            && self.collected.len() == 0
        {
            match pages.ask().await? {
                Some(items) => self.collected = items.into_iter(),
                None => self.rest = Rest::None,
            }
        }
        Ok((self.next_chunk()?, self))
    }

    /// The next piece; `None` after the last.
    fn next_chunk(&mut self) -> io::Result<Option<Bytes>> {
        let mut chunk = String::with_capacity(CHUNK + 1024);
        while chunk.is_empty() {
            match self.stage {
                Stage::Ended => return Ok(None),
                Stage::Head => {
                    self.page.head(&mut chunk);
                    self.stage = Stage::Entries;
                }
                Stage::Entries if self.collected.len() > 0 => {
                    while chunk.len() < CHUNK
                        && let Some(item) = self.collected.next()
                    {
                        self.page.entry(&mut chunk, &item);
                    }
                }
                Stage::Entries => self.stream(&mut chunk)?,
            }
        }
        Ok(Some(chunk.into()))
    }

    /// Entries that were not collected, or the end of the page.
    fn stream(&mut self, chunk: &mut String) -> io::Result<()> {
        while let Rest::Directory(directory) = &mut self.rest {
            match directory.next()? {
                Some(item) => self.page.entry(chunk, &item),
                None => self.rest = Rest::None,
            }
            if chunk.len() >= CHUNK {
                return Ok(());
            }
        }
        self.page.foot(chunk);
        self.stage = Stage::Ended;
        Ok(())
    }
}

/// A listing on its way: pieces that may block are made on the blocking pool, one at a time.
struct Chunks {
    device: Option<Arc<Device>>,
    state: State,
}

enum State {
    Ready(Box<Producer>),
    Making(Reading<(Option<Bytes>, Box<Producer>)>),
    Ended,
}

impl Stream for Chunks {
    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        loop {
            match std::mem::replace(&mut self.state, State::Ended) {
                State::Ended => return Poll::Ready(None),
                State::Ready(producer) if producer.blocks() => {
                    self.state = State::Making(Box::pin(producer.wait(self.device.clone())));
                }
                State::Ready(mut producer) => {
                    let chunk = producer.next_chunk();
                    self.state = State::Ready(producer);
                    return self.give(chunk);
                }
                State::Making(mut making) => match making.as_mut().poll(context) {
                    Poll::Pending => {
                        self.state = State::Making(making);
                        return Poll::Pending;
                    }
                    Poll::Ready(Ok((chunk, producer))) => {
                        self.state = State::Ready(producer);
                        return self.give(Ok(chunk));
                    }
                    Poll::Ready(Err(error)) => return self.give(Err(error)),
                },
            }
        }
    }
}

impl Chunks {
    /// Nothing follows an error or the end.
    fn give(&mut self, chunk: io::Result<Option<Bytes>>) -> Poll<Option<io::Result<Bytes>>> {
        if !matches!(chunk, Ok(Some(_))) {
            self.state = State::Ended;
        }
        Poll::Ready(chunk.transpose())
    }
}

// === impl Item, Memory ===

impl Item {
    /// Bytes of memory.
    fn takes(&self) -> usize {
        ITEM + self.name.capacity()
    }
}

impl Memory {
    /// Whether this many bytes may be taken.
    fn holds(&mut self, taken: usize, budget: &Arc<Semaphore>) -> bool {
        while taken >= self.0.as_ref().map_or(0, OwnedSemaphorePermit::num_permits) << 10 {
            let Ok(more) = Arc::clone(budget).try_acquire_many_owned(STEP as u32) else {
                return false;
            };
            match &mut self.0 {
                Some(memory) => memory.merge(more),
                None => self.0 = Some(more),
            }
        }
        true
    }
}

/// Whether a name is told of: one that a path can hold, and not hidden.
fn is_told(name: &str, dotfiles: Dotfiles) -> bool {
    let hidden = name.starts_with('.') && (dotfiles == Dotfiles::Hide || matches!(name, "." | ".."));
    !hidden && SitePath::from_decoded(&format!("/{name}")).is_ok_and(|path| path.name() == name)
}

// === impl Format ===

impl Format {
    /// JSON when Accept wants it more than HTML, or as much and by name (RFC 9110, section 12.5.1).
    fn wanted(headers: &HeaderMap) -> Self {
        let Some(accept) = fields::combined(headers, &ACCEPT) else {
            return Self::Html;
        };
        let json = Self::preference(&accept, "application", "json");
        let html = Self::preference(&accept, "text", "html");
        if json > html && json.0 > Weight::REFUSED {
            Self::Json
        } else {
            Self::Html
        }
    }

    /// The weight of a media type and how closely it was named.
    fn preference(accept: &[u8], of: &str, subtype: &str) -> (Weight, u8) {
        let mut closest = (Weight::REFUSED, 0);
        for element in fields::elements(accept) {
            let mut parts = element.split(|byte| *byte == b';').map(fields::trim);
            let range = parts.next().unwrap_or_default().to_ascii_lowercase();
            let closeness = match range.split(|byte| *byte == b'/').collect::<Vec<_>>()[..] {
                [a, b] if a == of.as_bytes() && b == subtype.as_bytes() => 3,
                [a, b"*"] if a == of.as_bytes() => 2,
                [b"*", b"*"] => 1,
                _ => continue,
            };
            let weight = parts.find_map(q_value).unwrap_or(Weight::FULL);
            if closeness > closest.1 {
                closest = (weight, closeness);
            }
        }
        closest
    }

    fn content_type(self) -> HeaderValue {
        match self {
            Self::Html => HeaderValue::from_static("text/html; charset=utf-8"),
            Self::Json => HeaderValue::from_static("application/json"),
        }
    }
}

// === impl Order ===

impl Order {
    /// From a query; what it does not know it passes over.
    fn of(query: &str) -> Self {
        let mut order = Self {
            by: By::Name,
            direction: Direction::Ascending,
        };
        for parameter in query.split('&') {
            match parameter {
                "sort=name" => order.by = By::Name,
                "sort=size" => order.by = By::Size,
                "sort=time" => order.by = By::Time,
                "order=asc" => order.direction = Direction::Ascending,
                "order=desc" => order.direction = Direction::Descending,
                _ => {}
            }
        }
        order
    }

    fn sort(self, items: &mut [Item]) {
        // By name first, so that equals of the stable sort below stay in it.
        items.sort_by_cached_key(|item| (item.name.to_lowercase(), item.name.clone()));
        let key = |item: &Item| match self.by {
            By::Name => (0, 0, 0),
            By::Size => (i128::from(item.length), 0, 0),
            By::Time => (
                0,
                item.modified.map_or(0, |time| time.seconds),
                item.modified.map_or(0, |time| time.nanoseconds),
            ),
        };
        match (self.by, self.direction) {
            (By::Name, Direction::Ascending) => {}
            (By::Name, Direction::Descending) => items.reverse(),
            (_, Direction::Ascending) => items.sort_by_key(key),
            (_, Direction::Descending) => items.sort_by_key(|item| std::cmp::Reverse(key(item))),
        }
        items.sort_by_key(|item| item.kind);
    }
}
