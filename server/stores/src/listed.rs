//! Pages of listings, without the keys that no path can name.
//!
//! An empty segment (`a//b`), `.`, `..` and control characters are in no path that a client may ask for, but in keys of S3
//! they may be. object_store refuses a page as a whole for one of them; so they are taken out before it reads the page.
use object_store::path::Path;
use quick_xml::{Reader, events::Event};
use std::{ops::Range, sync::Mutex, time::Duration, time::Instant};

/// Bytes of a page, at most: a thousand keys of 1024 characters, each written as a reference (`&#x1F600;`), and what is said
/// of them.
pub(crate) const LONGEST: usize = 16 << 20;

/// Elements that are entries, by the element that names each: those of S3 and Google, and those of Azure.
const ENTRIES: [(&str, &str); 4] = [
    ("Contents", "Key"),
    ("CommonPrefixes", "Prefix"),
    ("Blob", "Name"),
    ("BlobPrefix", "Name"),
];

/// How long nothing more is said of such keys.
const SILENCE: Duration = Duration::from_secs(60);

/// Says in the log that keys were left out, once a minute at most.
#[derive(Debug, Default)]
pub(crate) struct Notice(Mutex<Option<Instant>>);

/// An entry that cannot be named.
#[derive(Debug, PartialEq, Eq)]
struct Unnameable {
    /// Its bytes in the page.
    place: Range<usize>,
    key: String,
}

/// Whether a query asks for a page of a listing.
pub(crate) fn is_asked_for(query: &str) -> bool {
    query
        .split('&')
        .any(|pair| pair == "list-type=2" || pair == "comp=list")
}

impl Notice {
    /// The page with what can be named. What is no page stays as it is: whoever reads it says so.
    pub(crate) fn nameable(&self, page: Vec<u8>) -> Vec<u8> {
        let Some(left_out) = unnameable(&page).filter(|left_out| !left_out.is_empty()) else {
            return page;
        };
        self.say(&left_out);
        let mut rest = Vec::with_capacity(page.len());
        let mut at = 0;
        for Unnameable { place, .. } in left_out {
            rest.extend_from_slice(&page[at..place.start]);
            at = place.end;
        }
        rest.extend_from_slice(&page[at..]);
        rest
    }

    fn say(&self, left_out: &[Unnameable]) {
        let mut last = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if last.is_some_and(|last| last.elapsed() < SILENCE) {
            return;
        }
        *last = Some(Instant::now());
        let first = left_out.first().map(|left_out| &*left_out.key);
        tracing::warn!(
            count = left_out.len(),
            first,
            "keys that no path can name are left out of a listing (more of this for a minute is not logged)"
        );
    }
}

/// The entries that cannot be named, in order; `None`: it is not the XML that it should be.
fn unnameable(page: &[u8]) -> Option<Vec<Unnameable>> {
    let mut reader = Reader::from_reader(page);
    let mut found = Vec::new();
    // The entry in hand: where it begins, its name, what names it, and its key as far as it is read.
    let mut entry: Option<(usize, &str, &str, String)> = None;
    let mut is_in_key = false;
    loop {
        let at = usize::try_from(reader.buffer_position()).ok()?;
        match reader.read_event().ok()? {
            Event::Eof => return Some(found),
            Event::Start(tag) => match &entry {
                None => {
                    let of = ENTRIES.iter().find(|(name, _)| name.as_bytes() == tag.name().as_ref());
                    entry = of.map(|(name, key)| (at, *name, *key, String::new()));
                }
                Some((_, _, key, _)) => is_in_key = key.as_bytes() == tag.name().as_ref(),
            },
            Event::End(tag) => {
                is_in_key = false;
                let is_whole = entry
                    .as_ref()
                    .is_some_and(|(_, name, ..)| name.as_bytes() == tag.name().as_ref());
                if let Some((start, _, _, key)) = entry.take_if(|_| is_whole)
                    && !is_nameable(&key)
                {
                    let end = usize::try_from(reader.buffer_position()).ok()?;
                    found.push(Unnameable { place: start..end, key });
                }
            }
            event if is_in_key => {
                let Some((.., key)) = &mut entry else { continue };
                match event {
                    Event::Text(text) => key.push_str(&text.decode().ok()?),
                    Event::CData(text) => key.push_str(&text.decode().ok()?),
                    // The named ones (`&amp;`) stand for characters that make no difference here.
                    Event::GeneralRef(reference) => key.push(reference.resolve_char_ref().ok()?.unwrap_or('&')),
                    _ => {}
                }
            }
            _ => {}
        }
    }
}

/// Whether a path can name it: as object_store reads it, which drops a slash at the beginning.
fn is_nameable(key: &str) -> bool {
    !key.starts_with('/') && Path::parse(key).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(page: &str) -> String {
        String::from_utf8(Notice::default().nameable(page.into())).expect("parts of text")
    }

    #[test]
    fn keys_that_no_path_can_name_are_taken_out() {
        for (key, stays) in [
            ("a", true),
            ("a/b c", true),
            ("a/", true),
            ("a&amp;b", true),
            ("a&#x2F;b", true),
            ("...", true),
            ("a//b", false),
            ("a//", false),
            ("/a", false),
            ("a/./b", false),
            ("..", false),
            ("a&#10;b", false),
            ("a&#x2F;&#47;b", false),
            ("<![CDATA[a//b]]>", false),
        ] {
            for (name, of) in ENTRIES {
                let entry = format!("<{name}><{of}>{key}</{of}><Size>1</Size></{name}>");
                let page = format!(
                    "<?xml version=\"1.0\"?><Page><Prefix>a//</Prefix>{entry}<{name}><{of}>x</{of}></{name}></Page>"
                );
                let without = page.replace(&entry, "");
                assert_eq!(left(&page), if stays { page.clone() } else { without }, "{key}");
            }
        }
    }

    #[test]
    fn what_is_no_page_stays() {
        for page in [
            "",
            "no XML",
            "<a",
            "<Contents><Key>a//b</Key>",
            "<Contents><Key>a//b</Contents></Key>",
        ] {
            assert_eq!(left(page), page);
        }
    }

    #[test]
    fn questions_for_pages() {
        for (query, is) in [
            ("list-type=2&prefix=a", true),
            ("restype=container&comp=list", true),
            ("prefix=list-type=2", false),
            ("", false),
        ] {
            assert_eq!(is_asked_for(query), is, "{query}");
        }
    }
}
