//! What a listing looks like: a page that works without scripts and asks for nothing else, or JSON.
//!
//! Everything that comes from names is escaped where it is written: as text, in an attribute, in a reference or in JSON.
use super::{By, Direction, Format, Item, Kind, Order, SORTED};
use crate::{SitePath, search::SEGMENT, stat::Timestamp};
use percent_encoding::utf8_percent_encode;
use std::fmt::{self, Display, Write};

/// A listing's form, and how far it has got.
pub(super) struct Page {
    format: Format,
    order: Order,
    /// The request's own path: what references are relative to.
    path: SitePath,
    sorted: bool,
    directories: u64,
    files: u64,
}

const STYLE: &str = include_str!("page.css");

/// The page needs nothing but its own style; a name that found a way through the escaping could still run nothing.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

impl Page {
    pub(super) fn new(format: Format, order: Order, path: &SitePath) -> Self {
        Self {
            format,
            order,
            path: path.clone(),
            sorted: true,
            directories: 0,
            files: 0,
        }
    }

    pub(super) fn is_unsorted(&mut self) {
        self.sorted = false;
    }

    pub(super) fn head(&self, page: &mut String) {
        // Writing to a string cannot fail.
        let _ = match self.format {
            Format::Html => self.html_head(page),
            Format::Json => {
                write!(
                    page,
                    "{{\"path\":{},\"sorted\":{},\"entries\":[",
                    Json(self.path.as_str()),
                    self.sorted
                )
            }
        };
    }

    pub(super) fn entry(&mut self, page: &mut String, item: &Item) {
        let first = self.directories + self.files == 0;
        match item.kind {
            Kind::Directory => self.directories += 1,
            Kind::File => self.files += 1,
        }
        let _ = match self.format {
            Format::Html => self.html_entry(page, item),
            Format::Json => json_entry(page, item, first),
        };
    }

    pub(super) fn foot(&self, page: &mut String) {
        let _ = match self.format {
            Format::Html => self.html_foot(page),
            Format::Json => page.write_str("\n]}\n"),
        };
    }

    fn html_head(&self, page: &mut String) -> fmt::Result {
        let path = Text(self.path.as_str());
        write!(
            page,
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n\
             <title>{path}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n"
        )?;
        self.breadcrumbs(page)?;
        if !self.sorted {
            writeln!(
                page,
                "<p class=\"note\">Not sorted: the directory has more than {SORTED} entries, or the server is busy.</p>"
            )?;
        }
        page.write_str("<table>\n<thead><tr>")?;
        for (by, name, title) in [
            (By::Name, "name", "Name"),
            (By::Size, "size", "Size"),
            (By::Time, "time", "Modified"),
        ] {
            self.column(page, by, name, title)?;
        }
        page.write_str("</tr></thead>\n<tbody>\n")?;
        if self.path.as_str() != "/" {
            let up = if self.path.is_directory() { "../" } else { "./" };
            writeln!(
                page,
                "<tr class=\"up\"><td><a href=\"{up}\">..</a></td><td></td><td></td></tr>"
            )?;
        }
        Ok(())
    }

    /// The path with each directory on it a reference, relative like all of them.
    fn breadcrumbs(&self, page: &mut String) -> fmt::Result {
        let segments: Vec<&str> = self.path.segments().collect();
        // From a path without its slash the directory itself is one level further down than `.`.
        let below = usize::from(!self.path.is_directory());
        page.write_str("<nav aria-label=\"Path\"><h1>")?;
        for depth in 0..=segments.len() {
            let name = depth.checked_sub(1).map_or("Home", |last| segments[last]);
            let levels = segments.len() - depth;
            if levels == 0 {
                write!(page, "<span aria-current=\"page\">{}</span>", Text(name))?;
            } else {
                write!(
                    page,
                    "<a href=\"./{}\">{}</a> <span>/</span> ",
                    "../".repeat(levels - below),
                    Text(name)
                )?;
            }
        }
        page.write_str("</h1></nav>\n")
    }

    /// A heading that sorts by its column; the other way round when it is sorted by that already.
    fn column(&self, page: &mut String, by: By, name: &str, title: &str) -> fmt::Result {
        if !self.sorted {
            return write!(page, "<th scope=\"col\">{title}</th>");
        }
        let (state, mark, next) = match (self.order.by == by, self.order.direction) {
            (true, Direction::Ascending) => (" aria-sort=\"ascending\"", " \u{2191}", "desc"),
            (true, Direction::Descending) => (" aria-sort=\"descending\"", " \u{2193}", "asc"),
            (false, _) => ("", "", if by == By::Name { "asc" } else { "desc" }),
        };
        write!(
            page,
            "<th scope=\"col\"{state}><a href=\"?sort={name}&amp;order={next}\">{title}{mark}</a></th>"
        )
    }

    fn html_entry(&self, page: &mut String, item: &Item) -> fmt::Result {
        let (class, slash) = match item.kind {
            Kind::Directory => ("directory", "/"),
            Kind::File => ("file", ""),
        };
        // A path without its slash: what is in the directory is beneath its last segment.
        let within = if self.path.is_directory() {
            None
        } else {
            self.path.segments().last()
        };
        write!(page, "<tr class=\"{class}\"><td><a href=\"./")?;
        if let Some(within) = within {
            write!(page, "{}/", Reference(within))?;
        }
        write!(
            page,
            "{}{slash}\">{}{slash}</a></td>",
            Reference(&item.name),
            Text(&item.name)
        )?;
        match item.kind {
            Kind::Directory => page.write_str("<td></td>")?,
            Kind::File => write!(page, "<td title=\"{} bytes\">{}</td>", item.length, Size(item.length))?,
        }
        let Some(time) = item.modified.map(Utc) else {
            return writeln!(page, "<td></td></tr>");
        };
        writeln!(page, "<td><time datetime=\"{time}\">{time:#}</time></td></tr>")
    }

    fn html_foot(&self, page: &mut String) -> fmt::Result {
        let plural = |count: u64, one: &str, many: &str| format!("{count} {}", if count == 1 { one } else { many });
        writeln!(
            page,
            "</tbody>\n</table>\n<footer>{}, {} \u{b7} times in UTC</footer>\n</main>\n</body>\n</html>",
            plural(self.directories, "directory", "directories"),
            plural(self.files, "file", "files"),
        )
    }
}

fn json_entry(page: &mut String, item: &Item, first: bool) -> fmt::Result {
    let comma = if first { "" } else { "," };
    write!(page, "{comma}\n{{\"name\":{},", Json(&item.name))?;
    match item.kind {
        Kind::Directory => page.write_str("\"type\":\"directory\"")?,
        Kind::File => write!(page, "\"type\":\"file\",\"size\":{}", item.length)?,
    }
    match item.modified {
        Some(modified) => write!(page, ",\"modified\":\"{}\"}}", Utc(modified)),
        None => page.write_char('}'),
    }
}

/// As text or in an attribute in double quotes.
struct Text<'a>(&'a str);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in self.0.split_inclusive(['&', '<', '>', '"', '\'']) {
            let (plain, escaped) = match part.as_bytes().last() {
                Some(b'&') => (&part[..part.len() - 1], "&amp;"),
                Some(b'<') => (&part[..part.len() - 1], "&lt;"),
                Some(b'>') => (&part[..part.len() - 1], "&gt;"),
                Some(b'"') => (&part[..part.len() - 1], "&quot;"),
                Some(b'\'') => (&part[..part.len() - 1], "&#39;"),
                _ => (part, ""),
            };
            f.write_str(plain)?;
            f.write_str(escaped)?;
        }
        Ok(())
    }
}

/// As a segment of a reference in an attribute.
struct Reference<'a>(&'a str);

impl Display for Reference<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        utf8_percent_encode(self.0, SEGMENT).try_for_each(|part| Text(part).fmt(f))
    }
}

/// As a string of JSON, in its quotes.
struct Json<'a>(&'a str);

impl Display for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self.0).map_err(|_| fmt::Error)?)
    }
}

/// Bytes as people read them: three digits and a unit.
struct Size(u64);

impl Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        if self.0 < 1024 {
            return write!(f, "{} B", self.0);
        }
        let (mut tenths, mut unit) = (u128::from(self.0) * 10 / 1024, 0);
        while tenths >= 10240 {
            tenths /= 1024;
            unit += 1;
        }
        match tenths {
            ..1000 => write!(f, "{}.{} {}", tenths / 10, tenths % 10, UNITS[unit]),
            _ => write!(f, "{} {}", tenths / 10, UNITS[unit]),
        }
    }
}

/// RFC 3339 to the second; with `#` as people read it, to the minute.
#[derive(Clone, Copy)]
struct Utc(Timestamp);

impl Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DAY: i64 = 86_400;
        let (days, second) = (self.0.seconds.div_euclid(DAY), self.0.seconds.rem_euclid(DAY));
        let (year, month, day) = date(days);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        if f.alternate() {
            write!(f, "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}")
        } else {
            write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
        }
    }
}

/// Year, month and day of a number of days since 1970-01-01, in the Gregorian calendar.
fn date(days: i64) -> (i64, i64, i64) {
    // Counted in years that begin in March, so that the day that comes and goes is the last one; 400 of them have 146,097
    // days, and from March on the months have 153 days in every five.
    const ERA: i64 = 146_097;
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(ERA), days.rem_euclid(ERA));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_well() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (102_400, "100 KiB"),
            (1 << 20, "1.0 MiB"),
            ((1 << 20) - 1, "1023 KiB"),
            (5 << 30, "5.0 GiB"),
            (u64::MAX, "15.9 EiB"),
        ] {
            assert_eq!(Size(bytes).to_string(), text);
        }
    }

    #[test]
    fn dates_agree_with_httpdate() {
        for seconds in (-1_000_000_000..4_000_000_000).step_by(86_399 * 7) {
            let shown = Utc(Timestamp {
                seconds,
                nanoseconds: 0,
            });
            let Ok(since) = u64::try_from(seconds) else { continue };
            let expected = std::time::UNIX_EPOCH + std::time::Duration::from_secs(since);
            let month = [
                "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
            ];
            let text = shown.to_string();
            let name = month[text[5..7].parse::<usize>().unwrap() - 1];
            let imf = format!("{} {name} {} {} GMT", &text[8..10], &text[..4], &text[11..19]);
            assert!(httpdate::fmt_http_date(expected).ends_with(&imf), "{text}");
        }
        assert_eq!(
            Utc(Timestamp {
                seconds: -1,
                nanoseconds: 0
            })
            .to_string(),
            "1969-12-31T23:59:59Z"
        );
        assert_eq!(
            format!(
                "{:#}",
                Utc(Timestamp {
                    seconds: 951_782_400,
                    nanoseconds: 0
                })
            ),
            "2000-02-29 00:00"
        );
    }

    #[test]
    fn text_is_escaped() {
        assert_eq!(Text("a<b>&\"'é").to_string(), "a&lt;b&gt;&amp;&quot;&#39;é");
        assert_eq!(
            Reference("a b/c?d#e%f:g&'h").to_string(),
            "a%20b%2Fc%3Fd%23e%25f%3Ag&amp;&#39;h"
        );
        assert_eq!(Json("\"\u{2028}</script>").to_string(), "\"\\\"\u{2028}</script>\"");
    }
}
