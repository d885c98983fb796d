//! What a path led to, ready to be sent: the open file, what HTTP knows of it, and its siblings in other codings. Made
//! whole before anybody sees it, valid for a second, then used again if nothing has changed, or made again from what has not.
use crate::{
    Coding, FileState, Machines, OpenFile, Representation, Selected, Source,
    beneath::Patience,
    compress,
    opened::{self, Opened},
    preferences,
    root::FRESH,
    search::Scope,
    siblings::Absent,
    trouble::Trouble,
};
use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

/// What a path led to, and when.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) what: What,
    checked: Instant,
    /// For how long after that it may be used without looking again.
    valid: Duration,
    /// Of the protected set it was judged by.
    generation: u64,
}

#[derive(Debug)]
pub(crate) enum What {
    File(Arc<Variants>),
    Directory,
    NotThere,
    /// Kept so that many who wait for the same broken file are answered at once and logged once.
    Failed(Trouble),
}

/// A file and its siblings in other codings.
#[derive(Debug)]
pub(crate) struct Variants {
    original: Selected,
    coded: Vec<(Coding, Selected)>,
    /// Codings that need not be looked for while the directory is as it is; `None` until that was found out.
    absent: Option<Arc<Absent>>,
}

/// The generation of a set that no set has.
pub(crate) const NOTHING_PROTECTED: u64 = u64::MAX;

// === impl Entry ===

impl Entry {
    /// Opens what `path` names, reusing what is unchanged of an earlier entry.
    ///
    /// # Errors
    /// Troubles that are of the moment and not of the path: they are not kept.
    pub(crate) fn load(scope: &Scope, path: &str, earlier: Option<&Self>, patience: Patience) -> Result<Self, Trouble> {
        let mut checked = Instant::now();
        let earlier = match earlier.map(|entry| &entry.what) {
            Some(What::File(variants)) => Some(variants),
            _ => None,
        };
        let what = match open(scope, path, earlier.map(|variants| &variants.original), patience) {
            Ok(Opened::File(file)) => {
                let (variants, seen) = Variants::load(scope, path, file, earlier, patience)?;
                // The second begins with the oldest that it rests on.
                checked = seen.map_or(checked, |seen| seen.min(checked));
                What::File(variants)
            }
            Ok(Opened::Directory) => What::Directory,
            Err(Trouble::NotThere) => What::NotThere,
            Err(trouble @ (Trouble::Forbidden | Trouble::Broken | Trouble::StoreBroken | Trouble::StoreSlow)) => {
                What::Failed(trouble)
            }
            Err(trouble @ (Trouble::Busy | Trouble::Exhausted | Trouble::WouldBlock)) => return Err(trouble),
        };
        Ok(Self {
            what,
            checked,
            valid: FRESH,
            generation: scope.protected.generation(),
        })
    }

    /// What a store said just now. Nothing of a store is protected.
    pub(crate) fn of_store(what: What, checked: Instant, valid: Duration) -> Self {
        Self {
            what,
            checked,
            valid,
            generation: NOTHING_PROTECTED,
        }
    }

    /// Whether it may be used without looking again.
    pub(crate) fn is_fresh(&self, generation: u64, now: Instant) -> bool {
        self.generation == generation
            && self.checked.checked_add(self.valid).is_none_or(|until| now < until)
            // A head must not promise what reading would then refuse. In memory it cannot change.
            && match &self.what {
                What::File(variants) => variants.all().all(|selected| match &selected.source {
                    Source::File(file) => file.in_memory().is_some() || file.unchanged().is_ok(),
                    Source::Object(object) => !object.is_outdated(),
                }),
                What::Directory | What::NotThere | What::Failed(_) => true,
            }
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    pub(crate) fn checked(&self) -> Instant {
        self.checked
    }

    pub(crate) fn valid(&self) -> Duration {
        self.valid
    }

    pub(crate) fn descriptors(&self) -> usize {
        match &self.what {
            What::File(variants) => variants
                .all()
                .filter(|selected| selected.source.file().is_some_and(|file| file.has_descriptor()))
                .count(),
            What::Directory | What::NotThere | What::Failed(_) => 0,
        }
    }

    /// Bytes of content held in memory.
    pub(crate) fn bytes(&self) -> usize {
        match &self.what {
            What::File(variants) => variants
                .all()
                .filter_map(|selected| selected.source.file()?.in_memory())
                .map(|b| b.len())
                .sum(),
            What::Directory | What::NotThere | What::Failed(_) => 0,
        }
    }
}

fn open(scope: &Scope, path: &str, earlier: Option<&Selected>, patience: Patience) -> Result<Opened, Trouble> {
    let earlier = earlier.and_then(|selected| selected.source.file());
    opened::open(&scope.root, &scope.base, path, &scope.protected, earlier, patience)
}

// === impl Variants ===

impl Variants {
    /// The file and its siblings. What is known of siblings that are not there may be older than the call: then since when.
    fn load(
        scope: &Scope,
        path: &str,
        file: Arc<OpenFile>,
        earlier: Option<&Arc<Self>>,
        patience: Patience,
    ) -> Result<(Arc<Self>, Option<Instant>), Trouble> {
        let observed = SystemTime::now();
        let options = &scope.root.options;
        let name = path.rsplit('/').next().unwrap_or(path);
        let content_type = match earlier {
            Some(earlier) => earlier.original.representation.content_type.clone(),
            None => options.media_types.of(name),
        };
        let wanted = match is_coded(name) {
            true => &[],
            false => options.precompressed.as_slice(),
        };
        // A file that is asked for once is not worth looking at its directory too.
        let absent = earlier.filter(|_| !wanted.is_empty());
        let absent = absent.and_then(|earlier| Absent::find(scope, path, wanted, earlier.absent.as_ref(), patience));
        let (absent, seen) = absent.unzip();
        let is_absent = |coding| absent.as_ref().is_some_and(|absent| absent.contains(coding));
        let mut coded = Vec::new();
        for coding in wanted.iter().copied() {
            if coding == Coding::Identity || is_absent(coding) {
                continue;
            }
            let earlier = earlier.and_then(|variants| variants.in_coding(coding));
            match open(scope, &format!("{path}{}", coding.suffix()), earlier, patience) {
                Ok(Opened::File(sibling)) if is_current(&sibling, &file) => coded.push((coding, sibling)),
                // It cannot be had, for whatever reason: the file itself can.
                Ok(_) | Err(Trouble::NotThere | Trouble::Forbidden | Trouble::Broken) => {}
                Err(trouble) => return Err(trouble),
            }
        }
        let negotiated =
            !coded.is_empty() || compress::applies(scope.shared.compression.as_ref(), file.length(), &content_type);
        let select = |file: Arc<OpenFile>, coding| {
            let stat = file.stat();
            let state = FileState {
                length: stat.length,
                modified: stat.modified.system_time(),
                inode: (options.machines == Machines::One).then_some(stat.identity.inode),
            };
            let same = earlier
                .and_then(|earlier| earlier.in_coding(coding))
                .filter(|same| same.source.file().is_some_and(|same| Arc::ptr_eq(same, &file)));
            match same.filter(|same| same.representation.is_still(&state, negotiated, observed)) {
                Some(same) => {
                    same.head.rest();
                    same.clone()
                }
                None => {
                    let content_type = content_type.clone();
                    let representation = Representation::of_file(&state, content_type, coding, negotiated, observed);
                    Selected::new(file, representation)
                }
            }
        };
        let coded = coded
            .into_iter()
            .map(|(coding, sibling)| (coding, select(sibling, coding)))
            .collect();
        let variants = Self {
            original: select(file, Coding::Identity),
            coded,
            absent,
        };
        let same = earlier.filter(|earlier| earlier.is(&variants)).map(Arc::clone);
        Ok((same.unwrap_or_else(|| Arc::new(variants)), seen))
    }

    /// Of a file and its siblings as they are.
    pub(crate) fn new(original: Selected, coded: Vec<(Coding, Selected)>) -> Self {
        Self {
            original,
            coded,
            absent: None,
        }
    }

    /// The variant that a client wants; `None` when it refuses every one there is.
    pub(crate) fn negotiate(&self, headers: &http::HeaderMap) -> Option<Selected> {
        if self.coded.is_empty() {
            return Some(self.original.clone());
        }
        let mut available = [Coding::Identity; Coding::ALL.len()];
        for (slot, (coding, _)) in available.iter_mut().zip(&self.coded) {
            *slot = *coding;
        }
        preferences(headers, &available)
            .as_slice()
            .iter()
            .find_map(|coding| self.in_coding(*coding))
            .cloned()
    }

    /// The file itself.
    pub(crate) fn original(&self) -> &Selected {
        &self.original
    }

    fn in_coding(&self, coding: Coding) -> Option<&Selected> {
        match coding {
            Coding::Identity => Some(&self.original),
            _ => self
                .coded
                .iter()
                .find(|(of, _)| *of == coding)
                .map(|(_, selected)| selected),
        }
    }

    /// Whether all is the very same.
    fn is(&self, other: &Self) -> bool {
        let absent = [self, other].map(|variants| variants.absent.as_ref().map(Arc::as_ptr));
        let codings = |variants: &Self| variants.coded.iter().map(|(coding, _)| *coding).collect::<Vec<_>>();
        absent[0] == absent[1]
            && codings(self) == codings(other)
            && self
                .all()
                .zip(other.all())
                .all(|(one, other)| Arc::ptr_eq(&one.head, &other.head))
    }

    fn all(&self) -> impl Iterator<Item = &Selected> {
        std::iter::once(&self.original).chain(self.coded.iter().map(|(_, selected)| selected))
    }
}

/// Whether a name ends as the sibling of another would.
pub(crate) fn is_coded(name: &str) -> bool {
    Coding::ALL
        .iter()
        .any(|coding| *coding != Coding::Identity && name.ends_with(coding.suffix()))
}

/// Whether a sibling was made from the file as it is now. In whole seconds, because tools that carry the time over
/// (`brotli --keep`, archives) drop the fraction.
fn is_current(sibling: &OpenFile, original: &OpenFile) -> bool {
    sibling.stat().modified.seconds >= original.stat().modified.seconds
}
