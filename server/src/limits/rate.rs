//! So many in so much time: a rate with a burst, and what one who is held to it has used.

use std::{
    fmt,
    num::NonZeroU32,
    str::FromStr,
    time::{Duration, Instant},
};

/// So many requests in a unit of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    count: NonZeroU32,
    unit: Unit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Second,
    Minute,
    Hour,
}

/// What is left of a rate: a generic cell rate algorithm (ITU-T I.371), which is a token bucket that needs one time only.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    /// When all that was used will be earned again.
    even: Instant,
}

// === impl Rate ===

impl Rate {
    /// The time in which one is earned.
    fn interval(self) -> Duration {
        self.unit.length() / self.count.get()
    }

    /// So many a minute, at least one.
    pub fn per_minute(count: u32) -> Self {
        Self {
            count: NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN),
            unit: Unit::Minute,
        }
    }

    /// How many in its unit of time.
    pub fn count(self) -> NonZeroU32 {
        self.count
    }

    /// As many as come in a second, at least one: what may come at once where nothing else is said.
    pub fn usual_burst(self) -> NonZeroU32 {
        let a_second = u64::from(self.count.get()) / self.unit.length().as_secs();
        NonZeroU32::new(u32::try_from(a_second).unwrap_or(u32::MAX)).unwrap_or(NonZeroU32::MIN)
    }
}

impl FromStr for Rate {
    /// What is wrong, in words for the one who typed it.
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused =
            || format!("{text:?} is not a rate: a number and a unit, such as \"100/s\", \"30/min\" or \"5/h\"");
        let (count, unit) = text.split_once('/').ok_or_else(refused)?;
        Ok(Self {
            count: count.trim().parse().map_err(|_| refused())?,
            unit: match unit.trim() {
                "s" => Unit::Second,
                "min" => Unit::Minute,
                "h" => Unit::Hour,
                _ => return Err(refused()),
            },
        })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.unit {
            Unit::Second => "s",
            Unit::Minute => "min",
            Unit::Hour => "h",
        };
        write!(f, "{}/{unit}", self.count)
    }
}

impl Unit {
    fn length(self) -> Duration {
        Duration::from_secs(match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3600,
        })
    }
}

// === impl Bucket ===

impl Bucket {
    /// A full one.
    pub fn new(now: Instant) -> Self {
        Self { even: now }
    }

    /// Takes one of at most `burst` that may come at once; or says when there is one again.
    pub fn take(&mut self, rate: Rate, burst: NonZeroU32, now: Instant) -> Result<(), Duration> {
        let interval = rate.interval();
        let most = interval.saturating_mul(burst.get());
        // What was used at a slower rate, before a reload, counts no more than all that may come at once.
        if let Some(latest) = now.checked_add(most) {
            self.even = self.even.min(latest);
        }
        let even = self.even.max(now) + interval;
        match even
            .duration_since(now)
            .checked_sub(most)
            .filter(|wait| !wait.is_zero())
        {
            Some(wait) => Err(wait),
            None => {
                self.even = even;
                Ok(())
            }
        }
    }

    /// Whether it is as a new one would be.
    pub fn is_full(&self, now: Instant) -> bool {
        self.even <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_and_printed() {
        for (text, interval, burst) in [
            ("100/s", 10_000, 100),
            ("1/s", 1_000_000, 1),
            ("30/min", 2_000_000, 1),
            ("600/min", 100_000, 10),
            ("7200/h", 500_000, 2),
        ] {
            let rate: Rate = text.parse().expect(text);
            assert_eq!(
                (rate.interval(), rate.usual_burst().get()),
                (Duration::from_micros(interval), burst)
            );
            assert_eq!(rate.to_string(), text);
        }
        for text in ["", "10", "0/s", "-1/s", "1/d", "x/s", "1/s/s", "5000000000/s"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }

    /// Whoever used up a slow rate waits no longer for a faster one than who used up that.
    #[test]
    fn a_faster_rate_holds_at_once() {
        let now = Instant::now();
        let rate = |text: &str| text.parse::<Rate>().expect(text);
        let burst = |count| NonZeroU32::new(count).expect("more than none");
        let mut bucket = Bucket::new(now);
        for _ in 0..5 {
            assert_eq!(bucket.take(rate("1/h"), burst(5), now), Ok(()));
        }
        assert_eq!(
            bucket.take(rate("10/s"), burst(2), now),
            Err(Duration::from_millis(100))
        );
        let later = now + Duration::from_secs(1);
        assert_eq!(bucket.take(rate("10/s"), burst(2), later), Ok(()));
    }

    /// Whatever comes when: in any time no more pass than the burst and what the time earned, and who keeps to the rate is
    /// never refused.
    #[test]
    fn no_more_pass_than_burst_and_time_allow() {
        let mut state = 1_u64;
        let mut random = |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        for _ in 0..200 {
            let rate: Rate = format!("{}/s", 1 + random(50)).parse().expect("a rate");
            let burst = NonZeroU32::new(1 + random(20) as u32).expect("more than none");
            let start = Instant::now();
            let (mut now, mut bucket, mut passed) = (start, Bucket::new(start), Vec::new());
            for _ in 0..300 {
                now += Duration::from_millis(random(60));
                match bucket.take(rate, burst, now) {
                    Ok(()) => passed.push(now),
                    Err(wait) => {
                        let mut later = bucket;
                        assert_eq!(later.take(rate, burst, now + wait), Ok(()), "when it was said");
                        assert!(bucket.take(rate, burst, now + wait / 2).is_err(), "no sooner");
                    }
                }
            }
            for (first, begin) in passed.iter().enumerate() {
                for (more, end) in passed[first..].iter().enumerate() {
                    let earned = (end.duration_since(*begin).as_secs_f64() / rate.interval().as_secs_f64()) as u64;
                    assert!(
                        more as u64 <= u64::from(burst.get()) + earned,
                        "{more} in {:?}",
                        end.duration_since(*begin)
                    );
                }
            }
        }
    }
}
