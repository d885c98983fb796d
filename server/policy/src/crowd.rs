//! Whether several sites are asked at the same time, and which of them use more than their part of the processors.
//!
//! In the order of events: each request is one of its site's ([`Member::ask`]), whether the site has policies or not; what
//! the policies of a site run is counted as the site's ([`Member::charge`]); before a call begins, and before one of the
//! last processors is given to it, its site is asked whether it [has used more than its part](Member::is_over). What becomes
//! of such calls is the business of the [lane](crate::lane).
//!
//! All of it is an estimate of the last seconds, made of counters that nobody waits for. A server of one site reads one counter for each request, and writes none.
use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// How long a site is minded after a request of its own, when another was asked before it.
const MINDED: Duration = Duration::from_secs(1);
/// What was used is halved after each of these: 67 ms, so that what was used half a second ago is as good as forgotten.
const WINDOW_BITS: u32 = 26;
/// Of the processors, what all policies together may use before anybody has used too much: 1/32, which is some 2,000 short
/// calls a second where there are two.
const FREE: u32 = 32;
/// What one site has used is told to all in steps of 65 µs, so that most calls write to one counter and not two.
const STEP_BITS: u32 = 16;
/// `last` and `changed` before anybody asked.
const NOBODY: u64 = 0;

/// The sites of a server, as those who share its processors.
#[derive(Debug)]
pub struct Crowd {
    begun: Instant,
    /// By which sites are told apart.
    names: RandomState,
    /// Nanoseconds that all policies may use in a window.
    free: u64,
    /// Whose site was asked last.
    last: AtomicU64,
    /// When that changed, in nanoseconds since `begun`.
    changed: AtomicU64,
    /// What all have used together, and how many of them did.
    used: Recent,
    active: Recent,
}

/// One site among them, in one generation.
#[derive(Debug)]
pub(crate) struct Member {
    crowd: Arc<Crowd>,
    number: u64,
    used: Recent,
}

/// A sum that is halved with each window that goes by: 24 bits of the window's number, and 40 of the sum.
#[derive(Debug, Default)]
struct Recent(AtomicU64);

/// What adding to a [`Recent`] found and left.
struct Added {
    before: u64,
    after: u64,
    /// It was the first of its window.
    first: bool,
}

// === impl Crowd ===

impl Default for Crowd {
    fn default() -> Self {
        Self::of(std::thread::available_parallelism().map_or(1, usize::from))
    }
}

impl Crowd {
    /// On so many processors.
    pub fn of(processors: usize) -> Self {
        let processors = u64::try_from(processors).unwrap_or(u64::MAX);
        Self {
            begun: Instant::now(),
            names: RandomState::new(),
            free: processors.saturating_mul(1 << WINDOW_BITS) / u64::from(FREE),
            last: AtomicU64::new(NOBODY),
            changed: AtomicU64::new(NOBODY),
            used: Recent::default(),
            active: Recent::default(),
        }
    }

    /// For which no time goes by.
    #[cfg(test)]
    pub fn frozen() -> Self {
        Self {
            begun: Instant::now() + Duration::from_secs(3600),
            ..Self::of(1)
        }
    }

    /// Nanoseconds since it began.
    fn at(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.begun).as_nanos()).unwrap_or(u64::MAX)
    }

    /// Whether more than one site was asked lately.
    fn is_mixed(&self, now: u64) -> bool {
        let changed = self.changed.load(Relaxed);
        changed != NOBODY && now.saturating_sub(changed) < MINDED.as_nanos() as u64
    }
}

// === impl Member ===

impl Member {
    /// All generations of a site are the same to those who are asked beside it.
    pub fn new(site: &str, crowd: &Arc<Crowd>) -> Self {
        Self {
            crowd: crowd.clone(),
            // Not that of nobody.
            number: crowd.names.hash_one(site) | 1,
            used: Recent::default(),
        }
    }

    /// A request came for the site.
    pub fn ask(&self) {
        self.ask_at(Instant::now);
    }

    fn ask_at(&self, now: impl FnOnce() -> Instant) {
        let crowd = &*self.crowd;
        let last = crowd.last.load(Relaxed);
        if last == self.number {
            return;
        }
        crowd.last.store(self.number, Relaxed);
        if last != NOBODY {
            crowd.changed.store(crowd.at(now()).max(1), Relaxed);
        }
    }

    /// Its policies have run for so long.
    pub fn charge(&self, used: Duration, now: Instant) {
        let crowd = &*self.crowd;
        let window = crowd.at(now) >> WINDOW_BITS;
        let used = u64::try_from(used.as_nanos()).unwrap_or(u64::MAX);
        let Added { before, after, first } = self.used.add(window, used);
        if first {
            crowd.active.add(window, 1);
        }
        let steps = (after >> STEP_BITS) - (before >> STEP_BITS);
        if steps > 0 {
            crowd.used.add(window, steps << STEP_BITS);
        }
    }

    /// Whether its policies have used more than its part of the processors while others were asked: more than half of what
    /// is usual among those whose policies run, once all of them together have used more than 1/32 of the processors.
    pub fn is_over(&self, now: Instant) -> bool {
        let crowd = &*self.crowd;
        let now = crowd.at(now);
        if !crowd.is_mixed(now) {
            return false;
        }
        let window = now >> WINDOW_BITS;
        let all = crowd.used.at(window);
        let part = all / crowd.active.at(window).max(1) / 2;
        all > crowd.free && self.used.at(window) > part
    }

    /// Whether several sites are asked, now.
    pub fn is_beside_others(&self) -> bool {
        let crowd = &*self.crowd;
        crowd.changed.load(Relaxed) != NOBODY && crowd.is_mixed(crowd.at(Instant::now()))
    }

    /// As [`Member::is_over`], now; without looking at a clock where there are no others.
    pub fn is_over_now(&self) -> bool {
        self.crowd.changed.load(Relaxed) != NOBODY && self.is_over(Instant::now())
    }
}

// === impl Recent ===

impl Recent {
    const SUM_BITS: u32 = 40;
    const SUM: u64 = (1 << Self::SUM_BITS) - 1;
    const WINDOW: u64 = u64::MAX >> Self::SUM_BITS;

    fn add(&self, window: u64, amount: u64) -> Added {
        let mut state = self.0.load(Relaxed);
        loop {
            let before = Self::sum(state, window);
            let after = before.saturating_add(amount).min(Self::SUM);
            let next = (window & Self::WINDOW) << Self::SUM_BITS | after;
            match self.0.compare_exchange_weak(state, next, Relaxed, Relaxed) {
                Ok(_) => {
                    let first = state >> Self::SUM_BITS != window & Self::WINDOW;
                    return Added { before, after, first };
                }
                Err(changed) => state = changed,
            }
        }
    }

    fn at(&self, window: u64) -> u64 {
        Self::sum(self.0.load(Relaxed), window)
    }

    fn sum(state: u64, window: u64) -> u64 {
        let gone = window.wrapping_sub(state >> Self::SUM_BITS) & Self::WINDOW;
        let sum = state & Self::SUM;
        // A thread that is late by a window takes the sum as it is.
        match gone {
            Self::WINDOW => sum,
            gone => sum.checked_shr(u32::try_from(gone).unwrap_or(u32::MAX)).unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sites on two processors.
    struct Table {
        crowd: Arc<Crowd>,
        members: Vec<Member>,
    }

    impl Table {
        fn of(members: usize) -> Self {
            let crowd = Arc::new(Crowd::of(2));
            let members = (0..members).map(|site| Member::new(&site.to_string(), &crowd));
            let members = members.collect();
            Self { crowd, members }
        }

        fn at(&self, milliseconds: u64) -> Instant {
            self.crowd.begun + Duration::from_millis(milliseconds)
        }

        /// Each site is asked once every 10 ms, and uses so many microseconds for that, until then.
        fn run(&self, until: u64, uses: &[u64]) {
            for milliseconds in (0..until).step_by(10) {
                let now = self.at(milliseconds);
                for (member, used) in self.members.iter().zip(uses) {
                    member.ask_at(|| now);
                    if *used > 0 {
                        member.charge(Duration::from_micros(*used), now);
                    }
                }
            }
        }

        fn over(&self, milliseconds: u64) -> Vec<bool> {
            let now = self.at(milliseconds);
            self.members.iter().map(|member| member.is_over(now)).collect()
        }
    }

    #[test]
    fn who_uses_more_than_its_part_beside_others_is_over_it() {
        // What each site uses of each 10 ms, in microseconds, and whether it is over its part. 1/32 of two processors is 625.
        let cases: &[(&str, &[u64], &[bool])] = &[
            ("a site alone", &[20_000], &[false]),
            ("beside one without policies", &[10_000, 0], &[true, false]),
            (
                "a heavy one and modest ones",
                &[10_000, 200, 0, 200],
                &[true, false, false, false],
            ),
            ("two heavy ones", &[5_000, 4_000, 10], &[true, true, false]),
            ("many that are heavy together", &[300; 16], &[true; 16]),
            ("little altogether", &[150, 0, 10, 10], &[false; 4]),
        ];
        for (what, uses, expected) in cases {
            let table = Table::of(uses.len());
            table.run(1000, uses);
            assert_eq!(table.over(1000), *expected, "{what}");
        }
    }

    #[test]
    fn who_is_alone_again_is_not_over() {
        let table = Table::of(2);
        table.run(500, &[10_000, 10]);
        assert_eq!(table.over(500), [true, false]);
        // The first goes on, and nobody else is asked: the other is minded for a second.
        for milliseconds in (500..1600).step_by(10) {
            let now = table.at(milliseconds);
            table.members[0].ask_at(|| now);
            table.members[0].charge(Duration::from_millis(10), now);
            assert_eq!(table.over(milliseconds), [milliseconds < 1500, false], "{milliseconds}");
        }
        // Its next request is enough.
        table.members[1].ask_at(|| table.at(1600));
        assert_eq!(table.over(1600), [true, false]);
    }

    #[test]
    fn what_was_used_is_forgotten_within_a_second() {
        let table = Table::of(2);
        table.run(1000, &[10_000, 0]);
        table.members[1].ask_at(|| table.at(1900));
        assert_eq!(table.over(1900), [false; 2]);
    }

    #[test]
    fn a_sum_is_halved_with_each_window_that_goes_by() {
        const LAST: u64 = Recent::WINDOW;
        // What is added, with the window it is added in; a window, and the sum that is left then.
        type Adds = &'static [(u64, u64)];
        let cases: [(Adds, u64, u64); 10] = [
            (&[], 7, 0),
            (&[(5, 100)], 5, 100),
            (&[(5, 100)], 6, 50),
            (&[(5, 100), (5, 100), (6, 10)], 6, 110),
            (&[(5, 100)], 5 + 40, 0),
            (&[(5, 100)], 5 + 1000, 0),
            // A thread that is late.
            (&[(5, 100)], 4, 100),
            (&[(1, u64::MAX)], 1, Recent::SUM),
            // The number of the window comes round.
            (&[(LAST, 100)], LAST + 1, 50),
            (&[(LAST, 100), (LAST + 1, 1)], LAST + 1, 51),
        ];
        for (adds, window, expected) in cases {
            let recent = Recent::default();
            let mut before = 0;
            for (window, amount) in adds {
                let added = recent.add(*window, *amount);
                assert_eq!(added.first, before != window & LAST, "{adds:?}");
                before = window & LAST;
            }
            assert_eq!(recent.at(window), expected, "{adds:?} in {window}");
        }
    }
}
