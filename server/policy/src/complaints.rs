//! How often failures of one kind are written to the log: the first few of a while one by one, then how many more there were.
use std::time::{Duration, Instant};

const WHILE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Complaints {
    /// Of each while, so many are written.
    first: u32,
    since: Option<Instant>,
    written: u32,
    left_out: u64,
}

/// What to do with one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Complaint {
    Write,
    /// Say how many were left out after so long.
    LeaveOutAndSum {
        after: Duration,
    },
    LeaveOut,
}

impl Complaints {
    pub fn new(first: u32) -> Self {
        Self {
            first,
            since: None,
            written: 0,
            left_out: 0,
        }
    }

    pub fn next(&mut self, now: Instant) -> Complaint {
        let since = match self.since {
            Some(since) if now.saturating_duration_since(since) < WHILE => since,
            _ => {
                (self.since, self.written) = (Some(now), 0);
                now
            }
        };
        if self.written < self.first {
            self.written += 1;
            return Complaint::Write;
        }
        self.left_out += 1;
        match self.left_out {
            1 => Complaint::LeaveOutAndSum {
                after: (since + WHILE).saturating_duration_since(now),
            },
            _ => Complaint::LeaveOut,
        }
    }

    /// How many were left out and not told of yet.
    pub fn sum(&mut self) -> u64 {
        std::mem::take(&mut self.left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Complaint::{LeaveOut, LeaveOutAndSum, Write};

    #[test]
    fn the_first_of_a_while_are_written_and_the_others_are_counted() {
        let begin = Instant::now();
        let mut complaints = Complaints::new(2);
        let sum = |seconds| LeaveOutAndSum {
            after: Duration::from_secs(seconds),
        };
        for (second, expected) in [
            (0, Write),
            (10, Write),
            (20, sum(40)),
            (30, LeaveOut),
            (59, LeaveOut),
            // The next while; what was left out has not been told of.
            (60, Write),
            (61, Write),
            (62, LeaveOut),
        ] {
            let now = begin + Duration::from_secs(second);
            assert_eq!(complaints.next(now), expected, "at {second}");
        }
        assert_eq!(complaints.sum(), 4);
        assert_eq!(complaints.sum(), 0);
        assert_eq!(complaints.next(begin + Duration::from_secs(70)), sum(50));
    }
}
