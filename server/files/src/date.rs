//! HTTP-date: times in whole seconds, in the preferred and the two obsolete forms (RFC 9110, section 5.6.7).
use crate::fields;
use http::HeaderValue;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The end of the year 9999, beyond which an HTTP-date has no digits. Seconds since 1970.
const END: u64 = 253_402_300_800;

/// A point in time that an HTTP-date can express. Whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HttpDate(u64);

impl HttpDate {
    /// `time` without its fraction; `None` before 1970 and after 9999, as file times may be.
    pub fn new(time: SystemTime) -> Option<Self> {
        let seconds = time.duration_since(UNIX_EPOCH).ok()?.as_secs();
        (seconds < END).then_some(Self(seconds))
    }

    /// Reads a field value in any of the three forms; `None` for everything else.
    ///
    /// A two-digit year below 70 means this century, one from 70 on the last: no date of a file's own is misread by that
    /// before 2070.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let value = fields::trim(value);
        // httpdate 1.0.3 takes any character between the date and the time of the RFC 850 form.
        if let [.., before, _, _, _, _, _, _, _, _, b' ', b'G', b'M', b'T'] = value
            && *before != b' '
        {
            return None;
        }
        let time = httpdate::parse_http_date(std::str::from_utf8(value).ok()?).ok()?;
        Self::new(time)
    }

    /// The field value, in the preferred form (IMF-fixdate).
    pub fn to_header(self) -> HeaderValue {
        let text = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(self.0));
        HeaderValue::try_from(text).expect("an IMF-fixdate is visible ASCII")
    }
}
