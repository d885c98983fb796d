//! The directory of a cache: its files are made, found again and removed here. Everything in it blocks.
//!
//! A segment is two files, `ID.pieces` with bytes and `ID.index` with what is known of them. Numbers are never used again.
//! Only these names are touched.
use crate::{
    disk::Disk,
    index::{self, ENTRY, Entry, Header},
    segment::{OVERHEAD, Segment},
};
use rustix::{
    fs::{AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, flock, fstat, openat, unlinkat},
    io::Errno,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, Read},
    os::{fd::OwnedFd, unix::fs::FileExt},
    sync::Arc,
};

const PIECES: &str = "pieces";
const INDEX: &str = "index";
const LOCK: &str = "lock";

/// An opened directory, which no other process uses at the same time.
#[derive(Debug)]
pub(crate) struct Volume {
    folder: OwnedFd,
    lock: Arc<Lock>,
}

/// Held by whoever may still write to the directory: it is let go of when the last of them is done.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "held for its lock")] OwnedFd);

/// A segment that was found.
pub(crate) struct Found {
    pub(crate) segment: Segment,
    pub(crate) index: File,
    /// Those whose bytes lie within the file.
    pub(crate) entries: Vec<Entry>,
    /// Where more can be put: behind everything that was ever begun.
    pub(crate) end: u64,
    /// Entries that the index has room for, the header included.
    pub(crate) slots: u64,
}

/// What a directory is to be used with.
pub(crate) struct Layout {
    pub(crate) piece: u32,
    /// Bytes of a segment at most.
    pub(crate) segment: u64,
}

impl Volume {
    /// # Errors
    /// `ResourceBusy` when another process, or another cache of this one, has it.
    pub(crate) fn open(folder: OwnedFd) -> io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let lock = openat(&folder, LOCK, flags, Mode::RUSR | Mode::WUSR)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|error| match error {
            Errno::WOULDBLOCK => io::Error::new(io::ErrorKind::ResourceBusy, "another process uses it"),
            error => error.into(),
        })?;
        Ok(Self {
            folder,
            lock: Arc::new(Lock(lock)),
        })
    }

    pub(crate) fn folder(&self) -> &OwnedFd {
        &self.folder
    }

    pub(crate) fn lock(&self) -> Arc<Lock> {
        Arc::clone(&self.lock)
    }

    /// Makes the files of a new segment, charged with all that it may take.
    pub(crate) fn create(&self, header: Header, charge: u64, disk: &Arc<Disk>) -> io::Result<(Segment, File)> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let create = |kind| openat(&self.folder, name(header.segment, kind), flags, Mode::RUSR | Mode::WUSR);
        let data = create(PIECES)?;
        let made = create(INDEX).map_err(io::Error::from).and_then(|index| {
            let index = File::from(index);
            index.write_all_at(&header.encode(), 0)?;
            Ok(index)
        });
        match made {
            Ok(index) => Ok((
                Segment::new(header.segment, header.class, data.into(), charge, disk),
                index,
            )),
            Err(error) => {
                self.remove(header.segment);
                Err(error)
            }
        }
    }

    /// Removes the names of a segment, its index first: bytes without an index are nothing.
    pub(crate) fn remove(&self, segment: u64) {
        for kind in [INDEX, PIECES] {
            // Whatever stays is found, and removed, at the next start.
            let _ = unlinkat(&self.folder, name(segment, kind), AtFlags::empty());
        }
    }

    /// All segments that can be used, oldest first; what cannot is removed. The second: the next free number.
    pub(crate) fn find(&self, layout: &Layout, disk: &Arc<Disk>) -> io::Result<(Vec<Found>, u64)> {
        let mut kinds: BTreeMap<u64, BTreeSet<&str>> = BTreeMap::new();
        for entry in Dir::read_from(&self.folder)? {
            let entry = entry?;
            if let Some((segment, kind)) = entry.file_name().to_str().ok().and_then(parse) {
                kinds.entry(segment).or_default().insert(kind);
            }
        }
        let next = kinds.last_key_value().map_or(0, |(last, _)| last.saturating_add(1));
        let mut found = Vec::with_capacity(kinds.len());
        for (segment, kinds) in kinds {
            let read = if kinds.len() == 2 {
                self.read(segment, layout, disk)
            } else {
                Ok(None)
            };
            match read {
                Ok(Some(segment)) => found.push(segment),
                Ok(None) => self.remove(segment),
                // Not to be had now, which says nothing of the others.
                Err(error) => {
                    tracing::warn!(segment, %error, "a file of the disk cache cannot be read: it is removed");
                    self.remove(segment);
                }
            }
        }
        Ok((found, next))
    }

    fn read(&self, id: u64, layout: &Layout, disk: &Arc<Disk>) -> io::Result<Option<Found>> {
        let (data, length) = self.open_file(&name(id, PIECES))?;
        let (mut index, index_length) = self.open_file(&name(id, INDEX))?;
        // More than it may have is not ours; nothing is read that would not fit.
        if length > layout.segment || index_length > layout.segment {
            return Ok(None);
        }
        let mut bytes = Vec::with_capacity(usize::try_from(index_length).unwrap_or(0));
        (&mut index).take(layout.segment).read_to_end(&mut bytes)?;
        let (slots, _torn) = bytes.as_chunks::<ENTRY>();
        let Some((header, slots)) = slots.split_first() else {
            return Ok(None);
        };
        let Some(header) = Header::decode(header, id).filter(|header| header.piece == layout.piece) else {
            return Ok(None);
        };
        let all = slots.iter().filter_map(|bytes| index::Entry::decode(bytes, id));
        let (mut entries, mut end) = (Vec::with_capacity(slots.len()), length);
        for entry in all {
            let until = entry.offset.saturating_add(entry.length.into());
            end = end.max(until.min(layout.segment));
            if until <= length && entry.length > 0 && entry.length <= layout.piece {
                entries.push(entry);
            }
        }
        // A torn entry counts as one that is used.
        let slots = index_length.div_ceil(ENTRY as u64);
        let charge = OVERHEAD + length + index_length;
        Ok(Some(Found {
            segment: Segment::new(id, header.class, data, charge, disk),
            index,
            entries,
            end,
            slots,
        }))
    }

    fn open_file(&self, name: &str) -> io::Result<(File, u64)> {
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(&self.folder, name, flags, Mode::empty())?;
        let stat = fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || stat.st_nlink > 1 {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "it is not a file of one name",
            ));
        }
        Ok((file.into(), u64::try_from(stat.st_size).unwrap_or(u64::MAX)))
    }
}

fn name(segment: u64, kind: &str) -> String {
    format!("{segment:016x}.{kind}")
}

fn parse(text: &str) -> Option<(u64, &'static str)> {
    let (number, kind) = text.split_once('.')?;
    let kind = [PIECES, INDEX].into_iter().find(|known| *known == kind)?;
    let segment = u64::from_str_radix(number, 16).ok()?;
    (name(segment, kind) == text).then_some((segment, kind))
}
