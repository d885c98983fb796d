//! HTTP-date by counting days (RFC 9110, section 5.6.7).

const DAYS: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

fn days_of(month: usize, year: u64) -> u64 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    [31, 28 + u64::from(leap), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month]
}

/// Seconds since 1970 of a valid date.
pub fn read(value: &str) -> Option<u64> {
    let value = value.trim_matches([' ', '\t']);
    let fixed: Vec<&str> = value.split(' ').collect();
    match fixed[..] {
        // Sun, 06 Nov 1994 08:49:37 GMT
        [day, date, month, year, time, "GMT"] => {
            let day = day.strip_suffix(',')?;
            (day.len() == 3).then_some(())?;
            seconds(day, number(date, 2)?, month, number(year, 4)?, time)
        }
        // Sunday, 06-Nov-94 08:49:37 GMT
        [day, date, time, "GMT"] => {
            let day = DAYS.iter().find(|name| Some(**name) == day.strip_suffix(','))?;
            let [date, month, year] = date.split('-').collect::<Vec<_>>()[..] else {
                return None;
            };
            let year = number(year, 2)?;
            seconds(
                &day[..3],
                number(date, 2)?,
                month,
                year + if year < 70 { 2000 } else { 1900 },
                time,
            )
        }
        // Sun Nov  6 08:49:37 1994
        [day, month, "", date, time, year] => seconds(day, number(date, 1)?, month, number(year, 4)?, time),
        [day, month, date, time, year] => seconds(day, number(date, 2)?, month, number(year, 4)?, time),
        _ => None,
    }
}

fn number(text: &str, digits: usize) -> Option<u64> {
    (text.len() == digits && text.chars().all(|c| c.is_ascii_digit())).then(|| text.parse().ok())?
}

fn seconds(day: &str, date: u64, month: &str, year: u64, time: &str) -> Option<u64> {
    let month = MONTHS.iter().position(|name| *name == month)?;
    let [hour, minute, second] = time
        .split(':')
        .map(|part| number(part, 2))
        .collect::<Option<Vec<u64>>>()?[..]
    else {
        return None;
    };
    if year < 1970 || date == 0 || date > days_of(month, year) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let years: u64 = (1970..year)
        .map(|year| (0..12).map(|month| days_of(month, year)).sum::<u64>())
        .sum();
    let months: u64 = (0..month).map(|month| days_of(month, year)).sum();
    let days = years + months + date - 1;
    // The first of January 1970 was a Thursday. A date whose day of the week is another is no date.
    (DAYS[(days as usize + 3) % 7][..3] == *day).then_some(((days * 24 + hour) * 60 + minute) * 60 + second)
}
