//! When a certificate is ordered, and when again after an order that failed: rules without a clock of their own.

use std::time::{Duration, SystemTime};

/// From when until when a certificate is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    pub from: SystemTime,
    pub until: SystemTime,
}

/// Why an order came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setback {
    /// The authority could not be asked, or had no time: it counts nothing against the account.
    Unreachable,
    /// It refused, or did not see the answer to its challenge. Authorities count these: Let's Encrypt allows five an hour
    /// for a name.
    Refused,
    /// It has had too many orders.
    Limited,
}

/// The part of its lifetime after which a certificate is renewed, as Let's Encrypt advises: with 90 days, 30 before the end.
const RENEWED_AFTER: f64 = 2.0 / 3.0;

/// Renewals come earlier by up to this part of the lifetime, so that names ordered together are not renewed together.
const SPREAD: f64 = 1.0 / 20.0;

/// After the first setback, and the most: the time doubles from the one to the other.
const UNREACHABLE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(3600));
const REFUSED: (Duration, Duration) = (Duration::from_secs(5 * 60), Duration::from_secs(12 * 3600));
const LIMITED: (Duration, Duration) = (Duration::from_secs(3600), Duration::from_secs(24 * 3600));

/// Waits vary by up to this part of them, to both sides.
const JITTER: f64 = 0.2;

// === impl Lifetime ===

impl Lifetime {
    /// When it is to be renewed. `luck`: 0 to 1, the same for the same certificate.
    pub fn renewal(&self, luck: f64) -> SystemTime {
        let whole = self.until.duration_since(self.from).unwrap_or_default();
        self.from + whole.mul_f64(RENEWED_AFTER - SPREAD * luck.clamp(0.0, 1.0))
    }
}

// === impl Setback ===

impl Setback {
    /// How long to wait after so many setbacks in a row, this one included. `luck`: 0 to 1.
    pub fn wait(self, setbacks: u32, luck: f64) -> Duration {
        let (first, most) = match self {
            Self::Unreachable => UNREACHABLE,
            Self::Refused => REFUSED,
            Self::Limited => LIMITED,
        };
        let doubled = first.saturating_mul(2_u32.saturating_pow(setbacks.saturating_sub(1).min(20)));
        doubled
            .min(most)
            .mul_f64(1.0 + JITTER * (2.0 * luck.clamp(0.0, 1.0) - 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 3600;

    #[test]
    fn a_certificate_is_renewed_after_two_thirds_of_its_life() {
        let from = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        for (life, luck, expected) in [
            (90 * DAY, 0.0, 60 * DAY),
            (90 * DAY, 1.0, 60 * DAY - 90 * DAY / 20),
            (90 * DAY, 7.0, 60 * DAY - 90 * DAY / 20),
            (6 * DAY, 0.0, 4 * DAY),
            (60, 0.0, 40),
            (0, 0.5, 0),
        ] {
            let lifetime = Lifetime {
                from,
                until: from + Duration::from_secs(life),
            };
            let after = lifetime.renewal(luck).duration_since(from).expect("later");
            let error = after.abs_diff(Duration::from_secs(expected));
            assert!(error < Duration::from_millis(1), "{life} {luck}: {after:?}");
            assert!(after <= Duration::from_secs(life));
        }
        // A certificate that ends before it begins is renewed at once.
        let until = from - Duration::from_secs(DAY);
        assert_eq!(Lifetime { from, until }.renewal(0.3), from);
    }

    #[test]
    fn waits_double_up_to_a_bound() {
        use Setback::{Limited, Refused, Unreachable};
        for (setback, setbacks, seconds) in [
            (Unreachable, 0, 10),
            (Unreachable, 1, 10),
            (Unreachable, 2, 20),
            (Unreachable, 9, 2560),
            (Unreachable, 10, 3600),
            (Unreachable, u32::MAX, 3600),
            (Refused, 1, 300),
            (Refused, 3, 1200),
            (Refused, 100, 12 * 3600),
            (Limited, 1, 3600),
            (Limited, 9, DAY),
        ] {
            let expected = Duration::from_secs(seconds);
            assert_eq!(setback.wait(setbacks, 0.5), expected, "{setback:?} {setbacks}");
            assert_eq!(setback.wait(setbacks, 0.0), expected.mul_f64(0.8));
            assert_eq!(setback.wait(setbacks, 1.0), expected.mul_f64(1.2));
        }
    }

    /// Let's Encrypt refuses a name after five failed validations within an hour.
    #[test]
    fn an_authority_that_refuses_is_asked_less_than_five_times_an_hour() {
        let mut at = Duration::ZERO;
        let within = (1..=10).take_while(|setbacks| {
            at += Setback::Refused.wait(*setbacks, 0.0);
            at < Duration::from_secs(3600)
        });
        assert!(1 + within.count() < 5);
    }
}
