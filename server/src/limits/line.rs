//! One line for all sites: who may send how many bytes when.
//!
//! While the line has room, everybody sends at once. When it is full, sites have it in proportion to their weights,
//! however many connections each of them has, and what one does not use the others have: start-time fair queueing (Goyal,
//! Vin, Cheng, 1996) over pieces of some milliseconds' worth, granted at the line's rate. A site's own `bandwidth` makes
//! it rest in between. [`Schedule`] is the rule, with a time that it is given; [`Line`] wakes who has its turn, in one
//! task that is there only while somebody waits.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    num::{NonZeroU32, NonZeroU64},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};
use wasmserve_transport::Allowance;

/// One piece is what this much time allows: few wake-ups, and nobody has the line for long.
const PIECE: Duration = Duration::from_millis(10);

/// The most and the least bytes of a piece.
const LONGEST: u64 = 256 << 10;
const SHORTEST: u64 = 1 << 10;

/// How much lateness (of timers, which count milliseconds) is made up for.
const LATE: u64 = 25_000_000;

/// Virtual time in bytes of weight 1, as a fixed-point number.
const SCALE: u128 = 1 << 32;

/// Nanoseconds since the line began.
type Time = u64;

type SiteId = u64;
type TicketId = u64;

/// Who may send how many bytes when.
#[derive(Debug, Default)]
pub struct Schedule {
    rate: Option<NonZeroU64>,
    /// When the line is free again.
    free: Time,
    /// The virtual time of what was granted last.
    clock: u128,
    sites: HashMap<SiteId, Queue>,
    next_site: SiteId,
    /// Sites that wait for the line, least virtual time first.
    ready: BTreeSet<(u128, SiteId)>,
    /// Sites that wait for their own bandwidth, by the end of their rest.
    resting: BTreeSet<(Time, SiteId)>,
}

#[derive(Debug)]
struct Queue {
    weight: NonZeroU32,
    /// Bytes a second; `None`: no limit of its own.
    bandwidth: Option<NonZeroU64>,
    /// When it has bandwidth again.
    free: Time,
    virtual_time: u128,
    /// With the bytes that each wants: in the order that they came, as tickets are numbered, so that one of a hundred
    /// thousand gives up without looking at the others.
    waiting: BTreeMap<TicketId, u64>,
}

// === impl Schedule ===

impl Schedule {
    /// Bytes a second of the line; `None`: no limit.
    pub fn set_rate(&mut self, rate: Option<NonZeroU64>) {
        self.rate = rate;
    }

    /// A site from now on.
    pub fn join(&mut self, weight: NonZeroU32, bandwidth: Option<NonZeroU64>) -> SiteId {
        let id = self.next_site;
        self.next_site += 1;
        self.sites.insert(
            id,
            Queue {
                weight,
                bandwidth,
                free: 0,
                virtual_time: 0,
                waiting: BTreeMap::new(),
            },
        );
        id
    }

    /// What a site may have, from its next piece on.
    pub fn change(&mut self, site: SiteId, weight: NonZeroU32, bandwidth: Option<NonZeroU64>) {
        if let Some(queue) = self.sites.get_mut(&site) {
            (queue.weight, queue.bandwidth) = (weight, bandwidth);
        }
    }

    /// Nobody of it waits any more.
    pub fn leave(&mut self, site: SiteId) {
        if let Some(queue) = self.sites.remove(&site) {
            self.ready.remove(&(queue.virtual_time, site));
            self.resting.remove(&(queue.free, site));
        }
    }

    /// One of a site waits for a piece, of so many bytes at most. Tickets are numbered in the order that they come.
    pub fn wait(&mut self, site: SiteId, ticket: TicketId, wanted: u64, now: Time) {
        let Some(queue) = self.sites.get_mut(&site) else { return };
        let was_empty = queue.waiting.is_empty();
        queue.waiting.insert(ticket, wanted);
        if was_empty {
            // Whoever did not wait has not saved anything up.
            queue.virtual_time = queue.virtual_time.max(self.clock);
            self.enter(site, now);
        }
    }

    /// One of a site does not wait any more.
    pub fn give_up(&mut self, site: SiteId, ticket: TicketId) {
        let Some(queue) = self.sites.get_mut(&site) else { return };
        if queue.waiting.remove(&ticket).is_some() && queue.waiting.is_empty() {
            self.ready.remove(&(queue.virtual_time, site));
            self.resting.remove(&(queue.free, site));
        }
    }

    /// The next piece that may leave now: whose, and how many bytes.
    pub fn grant(&mut self, now: Time) -> Option<(TicketId, u64)> {
        while let Some((end, site)) = self.resting.first().copied().filter(|(end, _)| *end <= now) {
            self.resting.remove(&(end, site));
            let queue = self.sites.get(&site)?;
            self.ready.insert((queue.virtual_time, site));
        }
        if self.rate.is_some() && self.free > now {
            return None;
        }
        let (start, site) = self.ready.pop_first()?;
        self.clock = start;
        let queue = self.sites.get_mut(&site)?;
        let (ticket, wanted) = queue.waiting.pop_first()?;
        let rates = [self.rate, queue.bandwidth].into_iter().flatten();
        let bytes = rates.map(piece).min().unwrap_or(LONGEST).min(wanted.max(1));
        if let Some(rate) = self.rate {
            self.free = self.free.max(now.saturating_sub(LATE)) + time_of(rate, bytes);
        }
        if let Some(bandwidth) = queue.bandwidth {
            queue.free = queue.free.max(now.saturating_sub(LATE)) + time_of(bandwidth, bytes);
        }
        queue.virtual_time += u128::from(bytes) * SCALE / u128::from(queue.weight.get());
        if !queue.waiting.is_empty() {
            self.enter(site, now);
        }
        Some((ticket, bytes))
    }

    /// So many bytes of a piece were not sent: the line has them again.
    pub fn give_back(&mut self, site: SiteId, bytes: u64) {
        if let Some(rate) = self.rate {
            self.free = self.free.saturating_sub(time_of(rate, bytes));
        }
        // Of who waits nothing is moved: the sets go by it.
        if let Some(queue) = self.sites.get_mut(&site).filter(|queue| queue.waiting.is_empty()) {
            if let Some(bandwidth) = queue.bandwidth {
                queue.free = queue.free.saturating_sub(time_of(bandwidth, bytes));
            }
            let virtual_time = u128::from(bytes) * SCALE / u128::from(queue.weight.get());
            queue.virtual_time = queue.virtual_time.saturating_sub(virtual_time);
        }
    }

    /// When a piece may leave next; `None`: nobody waits.
    pub fn next(&self) -> Option<Time> {
        let rested = self.resting.first().map(|(end, _)| *end);
        let line = self.rate.map_or(0, |_| self.free);
        let ready = (!self.ready.is_empty()).then_some(line);
        // Who rests waits for the line afterwards: then is another grant's business.
        [ready, rested].into_iter().flatten().min()
    }

    fn enter(&mut self, site: SiteId, now: Time) {
        let Some(queue) = self.sites.get(&site) else { return };
        if queue.bandwidth.is_some() && queue.free > now {
            self.resting.insert((queue.free, site));
        } else {
            self.ready.insert((queue.virtual_time, site));
        }
    }
}

fn piece(rate: NonZeroU64) -> u64 {
    let bytes = u128::from(rate.get()) * PIECE.as_nanos() / Duration::from_secs(1).as_nanos();
    u64::try_from(bytes).unwrap_or(u64::MAX).clamp(SHORTEST, LONGEST)
}

fn time_of(rate: NonZeroU64, bytes: u64) -> Time {
    let nanoseconds = u128::from(bytes) * Duration::from_secs(1).as_nanos() / u128::from(rate.get());
    u64::try_from(nanoseconds).unwrap_or(u64::MAX)
}

/// The line, and who waits for it.
#[derive(Debug)]
pub struct Line {
    begun: Instant,
    /// Whether it has a rate.
    limited: AtomicBool,
    state: Mutex<State>,
    /// Somebody waits for less long than the task that wakes them knows.
    sooner: Notify,
}

#[derive(Debug, Default)]
struct State {
    schedule: Schedule,
    next_ticket: TicketId,
    tickets: HashMap<TicketId, Ticket>,
    /// When the task that wakes who has its turn looks next; `None`: there is none.
    wakes: Option<Time>,
}

#[derive(Debug)]
enum Ticket {
    /// With whom to wake; nobody, when its response is still sending another piece.
    Waiting(Option<Waker>),
    Granted(u64),
}

/// A site's place on the line.
#[derive(Debug)]
pub struct Seat {
    line: Arc<Line>,
    site: SiteId,
}

/// One response's part of its site's place.
pub struct Turn {
    seat: Arc<Seat>,
    ticket: Option<TicketId>,
    /// Bytes that were granted and not sent yet.
    held: u64,
}

// === impl Line ===

impl Default for Line {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
            limited: AtomicBool::new(false),
            state: Mutex::default(),
            sooner: Notify::new(),
        }
    }
}

impl Line {
    /// Bytes a second; `None`: no limit.
    pub fn set_rate(&self, rate: Option<NonZeroU64>) {
        self.state().schedule.set_rate(rate);
        self.limited.store(rate.is_some(), Relaxed);
        self.sooner.notify_one();
    }

    /// Whether there is anything to wait for, for a site without a bandwidth of its own.
    pub fn is_limited(&self) -> bool {
        self.limited.load(Relaxed)
    }

    fn now(&self) -> Time {
        u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that holds the lock can panic half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees to it that those who wait are woken in time.
    fn see_to(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        let next = state.schedule.next();
        match (state.wakes, next) {
            (None, Some(_)) => {
                state.wakes = next;
                drop(state);
                tokio::spawn(self.clone().serve());
            }
            (Some(wakes), Some(next)) if next < wakes => {
                state.wakes = Some(next);
                drop(state);
                self.sooner.notify_one();
            }
            _ => {}
        }
    }

    /// Wakes who has its turn, until nobody waits.
    async fn serve(self: Arc<Self>) {
        loop {
            let next = {
                let mut state = self.state();
                state.dispatch(self.now());
                state.wakes = state.schedule.next();
                match state.wakes {
                    Some(next) => self.begun + Duration::from_nanos(next),
                    None => return,
                }
            };
            // The timer counts milliseconds and comes late; what is late is made up for.
            let _ = timeout_at(next, self.sooner.notified()).await;
        }
    }
}

impl State {
    /// Somebody of a site waits from now on.
    fn wait(&mut self, site: SiteId, wanted: u64, now: Time) -> TicketId {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.tickets.insert(ticket, Ticket::Waiting(None));
        self.schedule.wait(site, ticket, wanted, now);
        self.dispatch(now);
        ticket
    }

    fn dispatch(&mut self, now: Time) {
        while let Some((ticket, bytes)) = self.schedule.grant(now) {
            if let Some(Ticket::Waiting(Some(waker))) = self.tickets.insert(ticket, Ticket::Granted(bytes)) {
                waker.wake();
            }
        }
    }
}

// === impl Seat ===

impl Seat {
    pub fn new(line: Arc<Line>, weight: NonZeroU32, bandwidth: Option<NonZeroU64>) -> Arc<Self> {
        let site = line.state().schedule.join(weight, bandwidth);
        Arc::new(Self { line, site })
    }

    pub fn change(&self, weight: NonZeroU32, bandwidth: Option<NonZeroU64>) {
        self.line.state().schedule.change(self.site, weight, bandwidth);
    }

    pub fn line(&self) -> &Line {
        &self.line
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.line.state().schedule.leave(self.site);
    }
}

// === impl Turn ===

impl Turn {
    pub fn new(seat: Arc<Seat>) -> Self {
        Self {
            seat,
            ticket: None,
            held: 0,
        }
    }
}

impl Allowance for Turn {
    fn poll(&mut self, context: &mut Context<'_>, wanted: u64) -> Poll<u64> {
        if self.held > 0 {
            return Poll::Ready(self.held);
        }
        let line = &self.seat.line;
        let mut state = line.state();
        let ticket = match self.ticket.take() {
            Some(ticket) => ticket,
            None => state.wait(self.seat.site, wanted, line.now()),
        };
        if let Some(Ticket::Granted(bytes)) = state.tickets.get(&ticket) {
            self.held = *bytes;
            state.tickets.remove(&ticket);
            // While this piece is sent the next one is waited for: whoever comes back only afterwards would lose turns to
            // those with many connections.
            if wanted > self.held {
                self.ticket = Some(state.wait(self.seat.site, wanted - self.held, line.now()));
            }
        } else {
            state
                .tickets
                .insert(ticket, Ticket::Waiting(Some(context.waker().clone())));
            self.ticket = Some(ticket);
        }
        line.see_to(state);
        match self.held {
            0 => Poll::Pending,
            held => Poll::Ready(held),
        }
    }

    fn sent(&mut self, count: u64) {
        self.held = self.held.saturating_sub(count);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.ticket.is_none() && self.held == 0 {
            return;
        }
        let mut state = self.seat.line.state();
        let mut unsent = self.held;
        if let Some(ticket) = self.ticket {
            if let Some(Ticket::Granted(bytes)) = state.tickets.remove(&ticket) {
                unsent += bytes;
            }
            state.schedule.give_up(self.seat.site, ticket);
        }
        state.schedule.give_back(self.seat.site, unsent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// A site: its weight, its bandwidth, how many of it send at once, and how long each of them takes for a piece (0: it
    /// is back at once).
    #[derive(Clone, Copy)]
    struct Sender {
        weight: u32,
        bandwidth: u64,
        connections: u64,
        takes: Time,
        /// Its responses have 100 bytes each.
        small: bool,
    }

    const EAGER: Sender = Sender {
        weight: 1,
        bandwidth: 0,
        connections: 1,
        takes: 0,
        small: false,
    };

    /// Bytes of each site after so many seconds on a line of this rate, looked at every millisecond, as tokio's timers do.
    fn simulate(rate: u64, seconds: u64, senders: &[Sender]) -> Vec<u64> {
        let mut schedule = Schedule::default();
        schedule.set_rate(NonZeroU64::new(rate));
        let sites: Vec<SiteId> = senders
            .iter()
            .map(|sender| {
                schedule.join(
                    NonZeroU32::new(sender.weight).unwrap(),
                    NonZeroU64::new(sender.bandwidth),
                )
            })
            .collect();
        let mut sent = vec![0; senders.len()];
        let mut back: BTreeSet<(Time, TicketId)> = BTreeSet::new();
        let mut whose = HashMap::new();
        for (site, sender) in senders.iter().enumerate() {
            for _ in 0..sender.connections {
                let ticket = whose.len() as TicketId;
                whose.insert(ticket, site);
                back.insert((0, ticket));
            }
        }
        for now in (0..seconds * 1000).map(|millisecond| millisecond * 1_000_000) {
            loop {
                while let Some((time, ticket)) = back.first().copied().filter(|(time, _)| *time <= now) {
                    back.remove(&(time, ticket));
                    let site = whose[&ticket];
                    let wanted = if senders[site].small { 100 } else { u64::MAX };
                    schedule.wait(sites[site], ticket, wanted, now);
                }
                let Some((ticket, bytes)) = schedule.grant(now) else {
                    break;
                };
                let site = whose[&ticket];
                sent[site] += bytes;
                back.insert((now + senders[site].takes, ticket));
            }
        }
        sent
    }

    #[track_caller]
    fn assert_near(what: &str, found: u64, expected: u64) {
        let off = found.abs_diff(expected) * 100 / expected.max(1);
        assert!(off <= 3, "{what}: {found} instead of {expected}");
    }

    #[test]
    fn a_full_line_is_shared_by_weight_however_many_connections_a_site_has() {
        let sent = simulate(
            10 * MIB,
            10,
            &[
                EAGER,
                Sender {
                    connections: 50,
                    ..EAGER
                },
                Sender { weight: 2, ..EAGER },
                Sender {
                    weight: 4,
                    connections: 3,
                    ..EAGER
                },
            ],
        );
        for (site, weight) in [1, 1, 2, 4].into_iter().enumerate() {
            assert_near(&format!("site {site}"), sent[site], 100 * MIB * weight / 8);
        }
    }

    #[test]
    fn what_one_does_not_use_the_others_have() {
        // One is limited by itself, one is slow to come back.
        let sent = simulate(
            10 * MIB,
            10,
            &[
                Sender {
                    bandwidth: MIB,
                    weight: 5,
                    ..EAGER
                },
                Sender {
                    takes: 1_000_000_000,
                    ..EAGER
                },
                EAGER,
                Sender { weight: 3, ..EAGER },
            ],
        );
        assert_near("its own bandwidth", sent[0], 10 * MIB);
        assert!(sent[1] <= 2 * MIB, "{sent:?}");
        let rest = 100 * MIB - sent[0] - sent[1];
        assert_near("the rest", sent[2], rest / 4);
        assert_near("the rest, three times", sent[3], rest * 3 / 4);
    }

    /// Small responses are charged what they have, not what a piece could have.
    #[test]
    fn small_responses_share_by_their_bytes() {
        let small = Sender {
            small: true,
            connections: 20,
            ..EAGER
        };
        let sent = simulate(100_000, 10, &[small, EAGER]);
        assert_near("small", sent[0], 500_000);
        assert_near("large", sent[1], 500_000);
    }

    #[test]
    fn what_was_not_sent_is_given_back() {
        let mut schedule = Schedule::default();
        schedule.set_rate(NonZeroU64::new(MIB));
        let site = schedule.join(NonZeroU32::MIN, None);
        let mut granted = 0;
        while granted < 1000 {
            // Nobody sends anything, so that the line is always free.
            schedule.wait(site, granted, u64::MAX, LATE);
            let (ticket, bytes) = schedule.grant(LATE).expect("the line is free");
            assert_eq!(ticket, granted);
            schedule.give_back(site, bytes);
            granted += 1;
        }
    }

    #[test]
    fn who_waits_alone_has_the_whole_line_and_saves_nothing_up() {
        assert_near("alone", simulate(10 * MIB, 10, &[EAGER])[0], 100 * MIB);
        assert_near("a slow line", simulate(10_000, 100, &[EAGER])[0], 1_000_000);
        // The second comes after five seconds: it has its half from then on, not more.
        let mut schedule = Schedule::default();
        schedule.set_rate(NonZeroU64::new(10 * MIB));
        let one = NonZeroU32::MIN;
        let (first, second) = (schedule.join(one, None), schedule.join(one, None));
        let mut sent = [0, 0];
        let mut waiting = vec![(first, 0)];
        for now in (0..10_000_u64).map(|millisecond| millisecond * 1_000_000) {
            if now == 5_000_000_000 {
                waiting.push((second, 1));
            }
            for (site, ticket) in waiting.drain(..) {
                schedule.wait(site, ticket, u64::MAX, now);
            }
            while let Some((ticket, bytes)) = schedule.grant(now) {
                sent[ticket as usize] += bytes;
                let site = if ticket == 0 { first } else { second };
                schedule.wait(site, ticket, u64::MAX, now);
            }
        }
        assert_near("the first", sent[0], 75 * MIB);
        assert_near("the second", sent[1], 25 * MIB);
    }

    #[test]
    fn a_thousand_sites_are_served_alike() {
        let sent = simulate(100 * MIB, 10, &[EAGER; 1000]);
        let (least, most) = (sent.iter().min().unwrap(), sent.iter().max().unwrap());
        assert!(most - least <= LONGEST, "{least} to {most}");
        assert_near("together", sent.iter().sum(), 1000 * MIB);
    }

    #[test]
    fn who_leaves_or_gives_up_leaves_nothing_behind() {
        let mut schedule = Schedule::default();
        schedule.set_rate(NonZeroU64::new(MIB));
        let one = NonZeroU32::MIN;
        let (gone, stays) = (schedule.join(one, None), schedule.join(one, NonZeroU64::new(1000)));
        for ticket in 0..10 {
            schedule.wait(gone, ticket, u64::MAX, 0);
            schedule.wait(stays, 100 + ticket, u64::MAX, 0);
        }
        for ticket in 0..9 {
            schedule.give_up(gone, ticket);
        }
        schedule.leave(gone);
        (100..110).for_each(|ticket| schedule.give_up(stays, ticket));
        assert_eq!((schedule.grant(u64::MAX / 2), schedule.next()), (None, None));
    }

    /// As many as connections may be open, gone from the last to the first: looking at all of them for each would take
    /// minutes.
    #[test]
    fn who_gives_up_is_not_looked_for_among_all_others() {
        const MANY: TicketId = 200_000;
        let mut schedule = Schedule::default();
        schedule.set_rate(NonZeroU64::new(MIB));
        let site = schedule.join(NonZeroU32::MIN, None);
        for ticket in 0..MANY {
            schedule.wait(site, ticket, u64::MAX, 0);
        }
        (1..MANY)
            .rev()
            .filter(|ticket| ticket % 1000 != 7)
            .for_each(|ticket| schedule.give_up(site, ticket));
        // Those who stay have their turns in the order that they came.
        let mut turns = Vec::new();
        while let Some(next) = schedule.next() {
            turns.extend(schedule.grant(next).map(|(ticket, _)| ticket));
        }
        let expected = std::iter::once(0).chain((7..MANY).step_by(1000));
        assert!(turns.into_iter().eq(expected));
    }

    #[tokio::test]
    async fn the_line_wakes_who_has_its_turn() {
        let line = Arc::new(Line::default());
        line.set_rate(NonZeroU64::new(64 << 10));
        let send = |weight: u32| {
            let seat = Seat::new(line.clone(), NonZeroU32::new(weight).unwrap(), None);
            async move {
                let mut turn = Turn::new(seat);
                let mut sent = 0;
                while sent < 16 << 10 {
                    let allowed = std::future::poll_fn(|context| turn.poll(context, u64::MAX)).await;
                    turn.sent(allowed);
                    sent += allowed;
                }
            }
        };
        let begun = Instant::now();
        tokio::join!(send(1), send(2), send(3));
        assert!(
            begun.elapsed() >= Duration::from_millis(600),
            "48 KiB at 64 KiB a second: {:?}",
            begun.elapsed()
        );
        assert!(line.state().tickets.is_empty());
    }
}
