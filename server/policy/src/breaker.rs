//! When a policy that burns its processor time is not run for a while: for one client, or for all.
//!
//! Counted are runs that failed after most of their running time: cheap failures cost nobody anything, and whoever can cause
//! them must not be able to shut a policy off. A few burnt runs of one client keep that client out ([`Refusal::Client`]);
//! many, of several clients, keep everybody out ([`Refusal::Open`]) until a few single runs have gone well again. Decisions
//! that are kept are none of its business: they need no run.
//!
//! A state machine that is told the time. Clients are told apart by the network that one of them usually has: /24 of IPv4,
//! /48 of IPv6.
use crate::BreakerState;
use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Duration, Instant},
};

/// How far back runs count.
const WINDOW: Duration = Duration::from_secs(10);
const BUCKETS: usize = 10;
/// It opens at so many runs, half of them burnt, from so many networks.
const LEAST_RUNS: u32 = 20;
const LEAST_NETWORKS: usize = 4;
/// One network is kept out at so many burnt runs, half of its own: with the least number of networks the breaker opens.
const LEAST_OF_ONE: u32 = LEAST_RUNS / LEAST_NETWORKS as u32;
/// How long a network is kept out.
const THROTTLED: Duration = WINDOW;
/// How long it stays open, at first; twice as long each time that a trial fails, up to the last.
const FIRST_REST: Duration = Duration::from_secs(5);
const LONGEST_REST: Duration = Duration::from_secs(60);
/// Runs that have to go well, one at a time, before it closes.
const TRIALS: u32 = 3;
/// What clients are asked to wait while a trial is under way.
const SOON: Duration = Duration::from_secs(1);
/// Networks that are remembered; the one that burnt longest ago is forgotten.
const MOST_NETWORKS: usize = 1024;

/// Where a client is. `None`: it has no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Network(Option<IpAddr>);

/// Why a policy is not run, and when it may be again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Its clients burnt too much together.
    Open { again: Duration },
    /// This client did.
    Client { again: Duration },
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Well,
    /// It failed, and had used most of its running time.
    Burnt,
    /// Nobody waited for its end, or it did not come to one for reasons of others.
    Unknown,
}

/// What is to be told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Opened { rest: Duration },
    HalfOpened,
    Closed,
}

/// That a run may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leave {
    Run,
    /// The policy is on trial.
    Trial,
}

#[derive(Debug)]
pub(crate) struct Breaker {
    position: Position,
    window: Window,
    networks: HashMap<Network, Record>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Position {
    Closed,
    Open { until: Instant, rest: Duration },
    HalfOpen { trying: bool, well: u32, rest: Duration },
}

/// Runs of the last seconds.
#[derive(Debug)]
struct Window {
    begin: Instant,
    /// The second, since `begin`, that the newest bucket is of.
    second: u64,
    runs: [u32; BUCKETS],
    burnt: [u32; BUCKETS],
}

/// What a network that has burnt did since then.
#[derive(Clone, Copy, Debug)]
struct Record {
    since: Instant,
    last: Instant,
    runs: u32,
    burnt: u32,
    /// Kept out until then.
    until: Option<Instant>,
}

// === impl Network ===

impl Network {
    pub fn of(client: Option<IpAddr>) -> Self {
        Self(client.map(|address| match address {
            IpAddr::V4(address) => {
                let [a, b, c, _] = address.octets();
                IpAddr::from([a, b, c, 0])
            }
            IpAddr::V6(address) => {
                let [a, b, c, ..] = address.segments();
                IpAddr::from([a, b, c, 0, 0, 0, 0, 0])
            }
        }))
    }
}

// === impl Refusal ===

impl Refusal {
    pub fn again(self) -> Duration {
        match self {
            Self::Open { again } | Self::Client { again } => again,
        }
    }
}

// === impl Breaker ===

impl Breaker {
    pub fn new(now: Instant) -> Self {
        Self {
            position: Position::Closed,
            window: Window::new(now),
            networks: HashMap::new(),
        }
    }

    /// Whether there is anything to remember: while nothing burnt lately, runs need not be told of.
    pub fn is_calm(&mut self, now: Instant) -> bool {
        self.networks.retain(|_, record| record.matters(now));
        self.position == Position::Closed && self.networks.is_empty()
    }

    /// Whether runs are let in, and how many networks are kept out.
    pub fn state(&self, now: Instant) -> (BreakerState, usize) {
        let state = match self.position {
            Position::Closed => BreakerState::Closed,
            Position::Open { until, .. } => BreakerState::Open {
                seconds: remaining(until, now).unwrap_or_default().as_secs(),
            },
            Position::HalfOpen { .. } => BreakerState::HalfOpen,
        };
        let kept_out = |record: &&Record| record.until.is_some_and(|until| until > now);
        (state, self.networks.values().filter(kept_out).count())
    }

    /// Asked before each run. What it gives has to be given back to [`Breaker::ended`].
    pub fn admit(&mut self, client: Network, now: Instant) -> (Result<Leave, Refusal>, Option<Change>) {
        if let Some(until) = self.networks.get(&client).and_then(|record| record.until)
            && let Some(again) = remaining(until, now)
        {
            return (Err(Refusal::Client { again }), None);
        }
        match self.position {
            Position::Closed => (Ok(Leave::Run), None),
            Position::Open { until, rest } => match remaining(until, now) {
                Some(again) => (Err(Refusal::Open { again }), None),
                None => {
                    self.position = Position::HalfOpen {
                        trying: true,
                        well: 0,
                        rest,
                    };
                    (Ok(Leave::Trial), Some(Change::HalfOpened))
                }
            },
            Position::HalfOpen { trying: true, .. } => (Err(Refusal::Open { again: SOON }), None),
            Position::HalfOpen { well, rest, .. } => {
                self.position = Position::HalfOpen {
                    trying: true,
                    well,
                    rest,
                };
                (Ok(Leave::Trial), None)
            }
        }
    }

    /// Told after each run.
    pub fn ended(&mut self, leave: Leave, client: Network, ending: Ending, now: Instant) -> Option<Change> {
        self.count(client, ending, now);
        match (self.position, leave) {
            (Position::HalfOpen { well, rest, .. }, Leave::Trial) => self.tried(well, rest, ending, now),
            (Position::Closed, Leave::Run | Leave::Trial) if ending == Ending::Burnt && self.too_much(now) => {
                Some(self.open(FIRST_REST, now))
            }
            // Runs that began before it opened.
            _ => None,
        }
    }

    fn tried(&mut self, well: u32, rest: Duration, ending: Ending, now: Instant) -> Option<Change> {
        let well = match ending {
            Ending::Burnt => return Some(self.open((rest * 2).min(LONGEST_REST), now)),
            Ending::Well => well + 1,
            Ending::Unknown => well,
        };
        if well < TRIALS {
            self.position = Position::HalfOpen {
                trying: false,
                well,
                rest,
            };
            return None;
        }
        self.position = Position::Closed;
        self.window = Window::new(now);
        self.networks
            .retain(|_, record| record.until.is_some_and(|until| until > now));
        Some(Change::Closed)
    }

    fn open(&mut self, rest: Duration, now: Instant) -> Change {
        self.position = Position::Open {
            until: now + rest,
            rest,
        };
        Change::Opened { rest }
    }

    fn count(&mut self, client: Network, ending: Ending, now: Instant) {
        let burnt = match ending {
            Ending::Burnt => true,
            Ending::Well => false,
            Ending::Unknown => return,
        };
        self.window.count(burnt, now);
        if burnt && !self.networks.contains_key(&client) {
            self.make_room();
            self.networks.insert(client, Record::new(now));
        }
        if let Some(record) = self.networks.get_mut(&client) {
            record.count(burnt, now);
        }
    }

    fn make_room(&mut self) {
        if self.networks.len() < MOST_NETWORKS {
            return;
        }
        let oldest = self.networks.iter().min_by_key(|(_, record)| record.last);
        if let Some(oldest) = oldest.map(|(network, _)| *network) {
            self.networks.remove(&oldest);
        }
    }

    fn too_much(&mut self, now: Instant) -> bool {
        let (runs, burnt) = self.window.sums(now);
        let lately = |record: &&Record| now.saturating_duration_since(record.last) < WINDOW;
        runs >= LEAST_RUNS
            && burnt >= runs.div_ceil(2)
            && self.networks.values().filter(lately).count() >= LEAST_NETWORKS
    }
}

// === impl Record, Window ===

impl Record {
    fn new(now: Instant) -> Self {
        Self {
            since: now,
            last: now,
            runs: 0,
            burnt: 0,
            until: None,
        }
    }

    fn count(&mut self, burnt: bool, now: Instant) {
        let over = self.until.is_some_and(|until| until <= now);
        if over || now.saturating_duration_since(self.since) >= WINDOW {
            let last = self.last;
            *self = Self {
                // What is under way while it is kept out does not let it in.
                until: self.until.filter(|until| *until > now),
                last,
                ..Self::new(now)
            };
        }
        self.runs = self.runs.saturating_add(1);
        if !burnt {
            return;
        }
        self.last = now;
        self.burnt = self.burnt.saturating_add(1);
        if self.burnt >= LEAST_OF_ONE && self.burnt >= self.runs.div_ceil(2) {
            self.until = Some(now + THROTTLED);
        }
    }

    fn matters(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| until > now) || now.saturating_duration_since(self.last) < WINDOW
    }
}

impl Window {
    fn new(begin: Instant) -> Self {
        Self {
            begin,
            second: 0,
            runs: [0; BUCKETS],
            burnt: [0; BUCKETS],
        }
    }

    fn count(&mut self, burnt: bool, now: Instant) {
        let at = self.turn(now);
        self.runs[at] = self.runs[at].saturating_add(1);
        self.burnt[at] = self.burnt[at].saturating_add(u32::from(burnt));
    }

    fn sums(&mut self, now: Instant) -> (u32, u32) {
        self.turn(now);
        let sum = |counts: &[u32; BUCKETS]| counts.iter().fold(0_u32, |sum, count| sum.saturating_add(*count));
        (sum(&self.runs), sum(&self.burnt))
    }

    /// Empties the buckets of seconds that nobody counted in, and gives the one of now.
    fn turn(&mut self, now: Instant) -> usize {
        let second = now.saturating_duration_since(self.begin).as_secs().max(self.second);
        let bucket = |second: u64| (second % BUCKETS as u64) as usize;
        let stale = (second - self.second).min(BUCKETS as u64);
        for old in 0..stale {
            let at = bucket(second - old);
            (self.runs[at], self.burnt[at]) = (0, 0);
        }
        self.second = second;
        bucket(second)
    }
}

fn remaining(until: Instant, now: Instant) -> Option<Duration> {
    Some(until.saturating_duration_since(now)).filter(|left| !left.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;
    use Ending::{Burnt, Unknown, Well};

    struct Table {
        breaker: Breaker,
        begin: Instant,
    }

    fn network(number: u8) -> Network {
        Network::of(Some([10, 0, number, 1].into()))
    }

    impl Table {
        fn new() -> Self {
            let begin = Instant::now();
            Self {
                breaker: Breaker::new(begin),
                begin,
            }
        }

        fn at(&self, seconds: f64) -> Instant {
            self.begin + Duration::from_secs_f64(seconds)
        }

        fn admit(&mut self, seconds: f64, client: u8) -> Result<Leave, Refusal> {
            self.breaker.admit(network(client), self.at(seconds)).0
        }

        /// A run at a time, which takes none.
        fn run(&mut self, seconds: f64, client: u8, ending: Ending) -> Result<Option<Change>, Refusal> {
            let now = self.at(seconds);
            let (leave, before) = self.breaker.admit(network(client), now);
            let after = self.breaker.ended(leave?, network(client), ending, now);
            Ok(after.or(before))
        }

        /// Burnt runs of four networks, until it opens.
        fn open(&mut self, seconds: f64) {
            let last = (0..20).map(|at| self.run(seconds, at % 4, Burnt)).last();
            assert_eq!(last, Some(Ok(Some(Change::Opened { rest: FIRST_REST }))));
        }
    }

    #[test]
    fn it_opens_on_burnt_runs_of_several_networks_and_on_nothing_else() {
        // Runs that go well, burn, and are cheap failures (which end well, as far as this is concerned); networks; seconds.
        let cases = [
            ("twenty burnt of four", 0, 20, 4, 1.0, true),
            ("half burnt", 20, 20, 4, 1.0, true),
            ("less than half", 21, 20, 5, 1.0, false),
            ("too few", 0, 19, 4, 1.0, false),
            ("of too few networks", 0, 15, 3, 1.0, false),
            ("within the window", 0, 20, 4, 9.0, true),
            ("spread over a longer time", 0, 20, 4, 40.0, false),
            ("none burnt", 100, 0, 4, 1.0, false),
        ];
        for (what, well, burnt, networks, seconds, opens) in cases {
            let mut table = Table::new();
            for at in 0..well {
                table.run(0.0, 100 + at as u8 % 50, Well).unwrap();
            }
            let mut opened = false;
            for at in 0..burnt {
                let ran = table.run(f64::from(at) * seconds / f64::from(burnt), at as u8 % networks, Burnt);
                opened |= matches!(ran, Ok(Some(Change::Opened { .. })));
            }
            assert_eq!(opened, opens, "{what}");
            assert_eq!(table.admit(seconds, 99).is_err(), opens, "{what}");
        }
    }

    #[test]
    fn one_client_keeps_itself_out_and_nobody_else() {
        let mut table = Table::new();
        for at in 0..5 {
            assert_eq!(table.run(f64::from(at), 1, Burnt), Ok(None));
        }
        let refused = Err(Refusal::Client {
            again: Duration::from_secs(10),
        });
        assert_eq!(table.admit(4.0, 1), refused);
        assert_eq!(table.admit(4.0, 2), Ok(Leave::Run));
        assert!(table.admit(13.9, 1).is_err());
        assert_eq!(table.admit(14.1, 1), Ok(Leave::Run));
        // It begins anew.
        for at in 0..4 {
            assert_eq!(table.run(14.1 + f64::from(at) / 10.0, 1, Burnt), Ok(None));
        }
        assert_eq!(table.admit(15.0, 1), Ok(Leave::Run));
        // Runs that nobody waited for say nothing, and excuse nothing.
        for _ in 0..5 {
            assert_eq!(table.run(16.0, 4, Unknown), Ok(None));
            assert_eq!(table.run(16.0, 4, Burnt), Ok(None));
        }
        assert!(table.admit(16.0, 4).is_err());
        // One with many good runs has a few bad ones free.
        for at in 0..30 {
            let ending = if at % 3 == 1 { Burnt } else { Well };
            assert_eq!(table.run(20.0, 3, ending), Ok(None), "{at}");
        }
    }

    #[test]
    fn it_closes_after_trials_one_at_a_time() {
        let mut table = Table::new();
        table.open(1.0);
        assert_eq!(
            table.admit(2.0, 50),
            Err(Refusal::Open {
                again: Duration::from_secs(4)
            })
        );
        let (leave, change) = table.breaker.admit(network(50), table.at(6.5));
        assert_eq!((leave, change), (Ok(Leave::Trial), Some(Change::HalfOpened)));
        assert_eq!(table.admit(6.5, 51), Err(Refusal::Open { again: SOON }));
        // Nobody waited for the end of this one.
        let now = table.at(6.6);
        assert_eq!(table.breaker.ended(Leave::Trial, network(50), Unknown, now), None);
        assert_eq!(table.run(6.7, 51, Well), Ok(None));
        assert_eq!(table.run(6.8, 52, Well), Ok(None));
        assert_eq!(table.run(6.9, 53, Well), Ok(Some(Change::Closed)));
        assert_eq!(table.admit(7.0, 54), Ok(Leave::Run));
        // Those who burnt are kept out as long as any: a trial is not theirs to fail.
        assert!(matches!(table.admit(7.0, 1), Err(Refusal::Client { .. })));
        assert!(!table.breaker.is_calm(table.at(7.0)));
        assert!(table.breaker.is_calm(table.at(30.0)));
    }

    #[test]
    fn it_rests_longer_after_each_failed_trial() {
        let mut table = Table::new();
        table.open(0.0);
        let mut now = 0.0;
        for rest in [5_u8, 10, 20, 40, 60, 60] {
            now += f64::from(rest) + 0.1;
            assert!(table.admit(now - 0.2, 200).is_err(), "{rest}");
            let change = table.run(now, 200 - rest, Burnt);
            let longer = Duration::from_secs(u64::from(rest) * 2).min(LONGEST_REST);
            assert_eq!(change, Ok(Some(Change::Opened { rest: longer })));
        }
    }

    #[test]
    fn runs_that_began_before_it_opened_change_nothing() {
        let mut table = Table::new();
        assert_eq!(table.admit(0.0, 9), Ok(Leave::Run));
        table.open(1.0);
        let now = table.at(2.0);
        assert_eq!(table.breaker.ended(Leave::Run, network(9), Well, now), None);
        assert!(table.admit(2.0, 10).is_err());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut table = Table::new();
        for at in 0..5000_u32 {
            let [_, b, c, _] = at.to_be_bytes();
            let d = at.to_be_bytes()[3];
            let client = Network::of(Some([b, c, d, 1].into()));
            let now = table.at(f64::from(at) / 1e6);
            table.breaker.count(client, Burnt, now);
        }
        assert_eq!(table.breaker.networks.len(), MOST_NETWORKS);
    }

    #[test]
    fn networks_are_those_of_one_client() {
        let same = |one: &str, other: &str| {
            let network = |text: &str| Network::of(Some(text.parse().unwrap()));
            network(one) == network(other)
        };
        for (one, other, expected) in [
            ("192.0.2.1", "192.0.2.254", true),
            ("192.0.2.1", "192.0.3.1", false),
            ("2001:db8:1:1::1", "2001:db8:1:ffff::1", true),
            ("2001:db8:1::1", "2001:db8:2::1", false),
        ] {
            assert_eq!(same(one, other), expected, "{one} {other}");
        }
        assert_eq!(Network::of(None), Network::of(None));
    }
}
