//! A log line as text: what `tracing_subscriber`'s own format writes, at two fifths of its price.
//!
//! The access log is a line for every request. Written by the general format it cost 13,400 instructions, two thirds of
//! all else that a small file takes: most of them prepared colours that are not used, and wrote fields one piece at a
//! time. It costs 5,400 here (callgrind, a kept connection, 1 KiB): the date and the time to the second are kept, and
//! texts and numbers without anything to escape are copied. Everything else is left to the general format. Spans are not
//! written: this server has none.

use std::{
    cell::RefCell,
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    field::VisitOutput,
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::{DefaultVisitor, Writer},
        time::{self, FormatTime},
    },
    registry::LookupSpan,
};

/// Time, level, target, message and fields on one line.
#[derive(Clone, Copy, Debug)]
pub struct Line;

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        write_now(&mut writer)?;
        writer.write_str(match *event.metadata().level() {
            Level::ERROR => " ERROR ",
            Level::WARN => "  WARN ",
            Level::INFO => "  INFO ",
            Level::DEBUG => " DEBUG ",
            Level::TRACE => " TRACE ",
        })?;
        writer.write_str(event.metadata().target())?;
        writer.write_char(':')?;
        let mut fields = Fields {
            writer: writer.by_ref(),
            written: Ok(()),
        };
        event.record(&mut fields);
        fields.written?;
        writer.write_char('\n')
    }
}

thread_local! {
    /// A second since 1970, and what a time within it begins with, up to the point.
    static SECOND: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
}

/// `2026-01-02T03:04:05.678901Z`.
fn write_now(writer: &mut Writer<'_>) -> fmt::Result {
    let now = since_1970();
    SECOND.with_borrow_mut(|(second, text)| {
        if *second != now.as_secs() || text.is_empty() {
            loop {
                *second = since_1970().as_secs();
                text.clear();
                time::SystemTime.format_time(&mut Writer::new(text))?;
                // The general format looks at the clock itself.
                if since_1970().as_secs() == *second {
                    break;
                }
            }
            text.truncate(text.find('.').unwrap_or(text.len()));
        }
        writer.write_str(text)
    })?;
    let micros = u64::from(now.subsec_micros());
    writer.write_char('.')?;
    // A million more, for the zeros in front.
    writer.write_str(&decimal(1_000_000 + micros, &mut [0; DIGITS])[1..])?;
    writer.write_char('Z')
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Of the largest number.
const DIGITS: usize = 20;

fn decimal(mut number: u64, digits: &mut [u8; DIGITS]) -> &str {
    let mut start = DIGITS;
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    std::str::from_utf8(&digits[start..]).expect("digits are ASCII")
}

/// Writes fields; the first error ends it.
struct Fields<'a> {
    writer: Writer<'a>,
    written: fmt::Result,
}

impl Fields<'_> {
    fn write(&mut self, pieces: &[&str]) {
        for piece in pieces {
            self.written = self.written.and_then(|()| self.writer.write_str(piece));
        }
    }

    /// As the general format does it.
    fn generally(&mut self, record: impl FnOnce(&mut DefaultVisitor<'_>)) {
        let mut visitor = DefaultVisitor::new(self.writer.by_ref(), false);
        record(&mut visitor);
        let finished = visitor.finish();
        self.written = self.written.and(finished);
    }
}

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        let plain = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'"' && byte != b'\\';
        if is_plain(field) && value.bytes().all(plain) {
            self.write(&[" ", field.name(), "=\"", value, "\""]);
        } else {
            self.generally(|visitor| visitor.record_str(field, value));
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        if is_plain(field) {
            self.write(&[" ", field.name(), "=", decimal(value, &mut [0; DIGITS])]);
        } else {
            self.generally(|visitor| visitor.record_u64(field, value));
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.generally(|visitor| visitor.record_error(field, value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.generally(|visitor| visitor.record_debug(field, value));
    }
}

/// Whether a field is written as `name=value`: the message is not, nor are names that had to be escaped in the source.
fn is_plain(field: &Field) -> bool {
    let name = field.name();
    name != "message" && !name.starts_with("r#") && !name.starts_with("log.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Lines {
        /// Without the times, which must be of one form.
        fn untimed(&self) -> Vec<String> {
            let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
            let form = |time: &str| time.replace(|c: char| c.is_ascii_digit(), "0");
            text.lines()
                .map(|line| {
                    let (time, rest) = line.split_at_checked(27).unwrap();
                    assert_eq!(form(time), "0000-00-00T00:00:00.000000Z", "{line}");
                    rest.to_owned()
                })
                .collect()
        }
    }

    fn say_everything() {
        let strange = [
            "",
            "plain",
            "a \"quote\"",
            "back\\slash",
            "line\nbreak",
            "\u{1b}[31mred",
            "b\u{fc}cher",
            "'",
        ];
        for text in strange {
            tracing::info!(target: "access", text, number = 0, path = text, "a {text} message");
            tracing::warn!(r#type = text, %text, ?text);
        }
        for number in [0, 7, 10, 123_456, u64::MAX] {
            tracing::error!(
                number,
                small = number as u8,
                signed = -1,
                float = 1.5,
                yes = true,
                none = None::<u64>
            );
        }
        let error: &dyn std::error::Error = &io::Error::other("outer");
        tracing::debug!(error, some = Some(3_u16), "with an error");
        tracing::trace!("only a message");
    }

    #[test]
    fn lines_are_those_of_the_general_format() {
        let (ours, theirs) = (Lines::default(), Lines::default());
        let everything = || tracing_subscriber::fmt().with_max_level(Level::TRACE).with_ansi(false);
        let (mine, general) = (ours.clone(), theirs.clone());
        let fast = everything()
            .event_format(Line)
            .with_writer(move || mine.clone())
            .finish();
        tracing::subscriber::with_default(fast, say_everything);
        let slow = everything().with_writer(move || general.clone()).finish();
        tracing::subscriber::with_default(slow, say_everything);
        assert_eq!(ours.untimed(), theirs.untimed());
        assert!(ours.untimed().len() > 20);
    }

    #[test]
    fn times_are_now() {
        let mut text = String::new();
        for _ in 0..3 {
            let before = SystemTime::now();
            text.clear();
            write_now(&mut Writer::new(&mut text)).unwrap();
            let seconds = humantime::parse_rfc3339(&text).unwrap();
            let micro = Duration::from_micros(1);
            assert!(before - micro <= seconds && seconds <= SystemTime::now(), "{text}");
        }
    }
}
