//! The entries of a store's directory: pages of objects and of what has more beneath it, asked for one after the other.
use super::{Format, Item, Kind, Memory, Order, Page, Producer, Rest, SORTED, is_told};
use crate::{
    Found, Lookup, SitePath,
    remote::Prefix,
    search::failed,
    stat::Timestamp,
    store::{self, StoreError},
    trouble::Trouble,
};
use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

/// Entries asked for at a time: the most that S3 gives.
const MOST: usize = 1000;

/// What of a directory is still to be asked for.
pub(super) struct Pages {
    scope: Prefix,
    /// What the keys of the directory begin with.
    directory: String,
    next: Next,
}

enum Next {
    Beginning,
    Token(String),
    End,
}

impl Prefix {
    /// The listing of a directory that a search led to.
    pub(crate) async fn list(&self, target: &SitePath, lookup: &Lookup<'_>) -> Found {
        let format = Format::wanted(lookup.headers);
        let order = Order::of(lookup.query.unwrap_or_default());
        let page = Page::new(format, order, lookup.path);
        let pages = Pages {
            scope: self.clone(),
            directory: self.directory_key(target.relative()),
            next: Next::Beginning,
        };
        match pages.collect(page, order).await {
            Ok(producer) => producer.found(format, None),
            Err(error) => failed(Trouble::from(error)),
        }
    }
}

impl Pages {
    /// Asks for as many entries as may be sorted.
    async fn collect(mut self, page: Page, order: Order) -> Result<Producer, StoreError> {
        let budget = Arc::clone(&self.scope.shared.listing_memory);
        let mut memory = Memory::default();
        let (mut items, mut taken) = (Vec::new(), 0);
        let rest = loop {
            if items.len() > SORTED || !memory.holds(taken, &budget) {
                break Rest::Pages(Box::new(self));
            }
            let Some(more) = self.ask().await? else {
                break Rest::None;
            };
            taken += more.iter().map(Item::takes).sum::<usize>();
            items.extend(more);
        };
        Ok(Producer::new(page, order, items, rest, memory))
    }

    /// The next page; `None` after the last.
    pub(super) async fn ask(&mut self) -> Result<Option<Vec<Item>>, StoreError> {
        let from = match std::mem::replace(&mut self.next, Next::End) {
            Next::Beginning => None,
            Next::Token(token) => Some(token),
            Next::End => return Ok(None),
        };
        let page = self.scope.root().store().list(&self.directory, from, MOST).await?;
        if let Some(token) = page.next {
            self.next = Next::Token(token);
        }
        let directories = page.directories.into_iter().map(|name| Item {
            name,
            kind: Kind::Directory,
            length: 0,
            modified: None,
        });
        let dotfiles = self.scope.root().options().dotfiles;
        let items = directories.chain(page.objects.into_iter().map(Item::from));
        Ok(Some(items.filter(|item| is_told(&item.name, dotfiles)).collect()))
    }
}

impl From<store::Listed> for Item {
    fn from(listed: store::Listed) -> Self {
        Self {
            name: listed.name,
            kind: Kind::File,
            length: listed.length,
            modified: Some(timestamp(listed.modified)),
        }
    }
}

fn timestamp(time: SystemTime) -> Timestamp {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp {
        seconds: since.as_secs().try_into().unwrap_or(i64::MAX),
        nanoseconds: since.subsec_nanos(),
    }
}
