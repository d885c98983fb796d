//! What each client may do, whichever site it asks: connections and requests at once, and requests in a time.
//!
//! A client is an IPv4 address, or a /64 of IPv6, of which a single machine often has all addresses. A customer of a
//! provider may have a /48 with 65,536 of them: beyond [`OF_A_SITE`] of one, the others count as one client together. The
//! table is bounded. What is known of a client goes only when it says nothing: no connection is open and all that was used is
//! earned again. When no such entry is found, clients that come then share some entries by a keyed hash: being one of
//! very many frees nobody who is held to a limit.

use super::rate::{Bucket, Rate};
use ipnet::IpNet;
use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    num::NonZeroU32,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::{Duration, Instant},
};

/// What each client may do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClientBudget {
    /// Connections at once; `None`: no limit.
    pub connections: Option<NonZeroU32>,
    /// Requests under way at once, until the last byte of their answers is sent; `None`: no limit.
    pub requests: Option<NonZeroU32>,
    /// Requests; `None`: no limit.
    pub rate: Option<Rate>,
    /// Requests that may come at once.
    pub burst: Option<NonZeroU32>,
    /// Networks that nothing of this holds for: proxies in front, monitoring.
    pub exempt: Vec<IpNet>,
}

/// All clients that something is known of.
#[derive(Debug)]
pub struct Clients {
    budget: RwLock<Arc<ClientBudget>>,
    table: Mutex<Table>,
}

/// A client's connection or request; counted until it is dropped.
#[derive(Debug)]
pub struct Counted {
    clients: Arc<super::Limits>,
    place: Place,
    what: What,
}

/// What a client has several of at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Connection,
    Request,
}

/// What is held together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Prefix {
    V4(u32),
    /// A /64.
    V6(u64),
    /// Those of a /48 that have no entry of their own.
    Rest(u64),
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Own(usize),
    Shared(usize),
}

#[derive(Clone, Debug)]
struct Entry {
    connections: u32,
    requests: u32,
    bucket: Bucket,
}

#[derive(Debug)]
struct Table {
    most: usize,
    places: HashMap<Prefix, usize>,
    entries: Vec<(Prefix, Entry)>,
    /// How many /64 of each /48 have an entry.
    of_sites: HashMap<u64, usize>,
    /// Where the search for an entry that says nothing goes on.
    hand: usize,
    shared: Vec<Entry>,
    hash: RandomState,
}

/// Entries that one /48 of IPv6 may have.
const OF_A_SITE: usize = 1024;
/// When what others hold may have been given back.
const SOON: Duration = Duration::from_secs(1);
/// Clients that are known one by one; some 100 bytes each.
const ENTRIES: usize = 65_536;
/// Entries that further ones share.
const SHARED: usize = 1024;
/// Entries that are looked at for one that says nothing.
const LOOKED_AT: usize = 64;

// === impl Clients ===

impl Default for Clients {
    fn default() -> Self {
        Self {
            budget: RwLock::default(),
            table: Mutex::new(Table::new(ENTRIES)),
        }
    }
}

impl Clients {
    pub fn set_budget(&self, budget: ClientBudget) {
        *self.budget.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(budget);
    }

    fn budget(&self, client: IpAddr) -> Option<Arc<ClientBudget>> {
        let budget = self.budget.read().unwrap_or_else(PoisonError::into_inner);
        let exempt = || budget.exempt.iter().any(|network| network.contains(&client));
        let limits = budget.connections.is_some() || budget.requests.is_some() || budget.rate.is_some();
        (limits && !exempt()).then(|| budget.clone())
    }

    /// Counts a connection that begins. `Ok(None)`: nobody counts.
    ///
    /// # Errors
    /// When the client has as many as it may have.
    pub fn connect(limits: &Arc<super::Limits>, client: IpAddr) -> Result<Option<Counted>, TooMany> {
        let clients = &limits.clients;
        let Some(most) = clients.budget(client).and_then(|budget| budget.connections) else {
            return Ok(None);
        };
        let mut table = clients.table();
        let place = table.place(Prefix::of(client), Instant::now());
        table.count(limits, place, What::Connection, most).map(Some)
    }

    /// Counts a request that begins. `Ok(None)`: nobody counts how many are under way.
    ///
    /// # Errors
    /// When the client has used up its rate, or has as many requests under way as it may have: how long until it is worth
    /// trying again.
    pub fn request(limits: &Arc<super::Limits>, client: IpAddr) -> Result<Option<Counted>, Duration> {
        let clients = &limits.clients;
        let Some(budget) = clients.budget(client).filter(|budget| budget.counts_requests()) else {
            return Ok(None);
        };
        let now = Instant::now();
        let mut table = clients.table();
        let place = table.place(Prefix::of(client), now);
        let counted = budget
            .requests
            .map(|most| table.count(limits, place, What::Request, most))
            .transpose();
        let taken = budget.rate.map_or(Ok(()), |rate| {
            let burst = budget.burst.unwrap_or_else(|| rate.usual_burst());
            table.entry(place).bucket.take(rate, burst, now)
        });
        // What was counted is given back with the lock of the table.
        drop(table);
        taken?;
        counted.map_err(|TooMany| SOON)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Nothing that holds the lock can panic half-way.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client has as many connections, or requests under way, as it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany;

impl Drop for Counted {
    fn drop(&mut self) {
        let mut table = self.clients.clients.table();
        *table.entry(self.place).number(self.what) -= 1;
    }
}

// === impl ClientBudget ===

impl ClientBudget {
    fn counts_requests(&self) -> bool {
        self.requests.is_some() || self.rate.is_some()
    }
}

// === impl Prefix ===

impl Prefix {
    fn of(client: IpAddr) -> Self {
        match client.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.to_bits()),
            IpAddr::V6(address) => {
                let high = address.to_bits() >> 64;
                Self::V6(u64::try_from(high).expect("the upper half of 128 bits"))
            }
        }
    }
}

impl Prefix {
    /// The /48 that a /64 is part of.
    fn site(self) -> Option<u64> {
        match self {
            Self::V6(network) => Some(network >> 16),
            Self::V4(_) | Self::Rest(_) => None,
        }
    }
}

// === impl Table ===

impl Table {
    fn new(most: usize) -> Self {
        Self {
            most,
            places: HashMap::new(),
            entries: Vec::new(),
            of_sites: HashMap::new(),
            hand: 0,
            shared: Vec::new(),
            hash: RandomState::new(),
        }
    }

    /// Where a client is, or is from now on. One that has a connection stays there.
    fn place(&mut self, prefix: Prefix, now: Instant) -> Place {
        if let Some(place) = self.places.get(&prefix) {
            return Place::Own(*place);
        }
        let known = |site: &u64| self.of_sites.get(site).copied().unwrap_or(0);
        if let Some(site) = prefix.site().filter(|site| known(site) >= OF_A_SITE) {
            return self.place(Prefix::Rest(site), now);
        }
        if self.entries.len() < self.most {
            self.entries.push((prefix, Entry::new(now)));
            self.know(prefix, self.entries.len() - 1);
            return Place::Own(self.entries.len() - 1);
        }
        for _ in 0..LOOKED_AT.min(self.most) {
            let place = self.hand;
            self.hand = (self.hand + 1) % self.most;
            let (other, entry) = &mut self.entries[place];
            if entry.says_nothing(now) {
                let forgotten = std::mem::replace(other, prefix);
                *entry = Entry::new(now);
                self.forget(forgotten);
                self.know(prefix, place);
                return Place::Own(place);
            }
        }
        if self.shared.is_empty() {
            self.shared = vec![Entry::new(now); SHARED];
        }
        Place::Shared(self.hash.hash_one(prefix) as usize % SHARED)
    }

    fn know(&mut self, prefix: Prefix, place: usize) {
        self.places.insert(prefix, place);
        if let Some(site) = prefix.site() {
            *self.of_sites.entry(site).or_default() += 1;
        }
    }

    fn forget(&mut self, prefix: Prefix) {
        self.places.remove(&prefix);
        if let Some(site) = prefix.site()
            && let Some(known) = self.of_sites.get_mut(&site)
        {
            *known -= 1;
            if *known == 0 {
                self.of_sites.remove(&site);
            }
        }
    }

    /// Counts one more, if that is not too many.
    fn count(
        &mut self,
        limits: &Arc<super::Limits>,
        place: Place,
        what: What,
        most: NonZeroU32,
    ) -> Result<Counted, TooMany> {
        let number = self.entry(place).number(what);
        if *number >= most.get() {
            return Err(TooMany);
        }
        *number += 1;
        Ok(Counted {
            clients: limits.clone(),
            place,
            what,
        })
    }

    fn entry(&mut self, place: Place) -> &mut Entry {
        match place {
            Place::Own(place) => &mut self.entries[place].1,
            Place::Shared(place) => &mut self.shared[place],
        }
    }
}

// === impl Entry ===

impl Entry {
    fn new(now: Instant) -> Self {
        Self {
            connections: 0,
            requests: 0,
            bucket: Bucket::new(now),
        }
    }

    fn number(&mut self, what: What) -> &mut u32 {
        match what {
            What::Connection => &mut self.connections,
            What::Request => &mut self.requests,
        }
    }

    /// Whether a new one would be the same.
    fn says_nothing(&self, now: Instant) -> bool {
        self.connections == 0 && self.requests == 0 && self.bucket.is_full(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;

    fn limits(budget: ClientBudget, most: usize) -> Arc<Limits> {
        let limits = Limits::default();
        limits.clients.set_budget(budget);
        *limits.clients.table() = Table::new(most);
        Arc::new(limits)
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn connections_are_counted_until_they_end() {
        let budget = ClientBudget {
            connections: NonZeroU32::new(2),
            exempt: vec!["10.0.0.0/8".parse().expect("a network")],
            ..ClientBudget::default()
        };
        let limits = limits(budget, 10);
        let connect = |client: &str| Clients::connect(&limits, address(client));
        for (one, same, other) in [
            ("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"),
            ("2001:db8::1", "2001:db8::ffff:1", "2001:db8:0:1::1"),
        ] {
            let first = connect(one).expect("the first");
            let _second = connect(same).expect("the second");
            assert!(connect(one).is_err(), "{one}");
            assert!(connect(other).is_ok(), "{other}");
            drop(first);
            assert!(connect(one).is_ok(), "{one} has one less");
        }
        assert!((0..5).all(|_| matches!(connect("10.1.2.3"), Ok(None))), "it is exempt");
    }

    /// More clients than there are entries: whoever has used up its rate, or has connections, stays held to it.
    #[test]
    fn a_crowd_frees_nobody() {
        let budget = ClientBudget {
            connections: NonZeroU32::new(1),
            rate: "1/h".parse().ok(),
            ..ClientBudget::default()
        };
        let limits = limits(budget, 100);
        let attacker = address("192.0.2.1");
        let _open = Clients::connect(&limits, attacker).expect("the first");
        assert!(Clients::request(&limits, attacker).is_ok());
        for number in 0..10_000_u32 {
            let other = IpAddr::from(number.to_be_bytes());
            let _ = Clients::request(&limits, other);
            assert!(Clients::connect(&limits, attacker).is_err(), "{number}");
            assert!(Clients::request(&limits, attacker).is_err(), "{number}");
        }
        let table = limits.clients.table();
        assert_eq!(
            (table.entries.len(), table.places.len(), table.shared.len()),
            (100, 100, SHARED)
        );
    }

    #[test]
    fn requests_under_way_are_counted_until_they_end() {
        let budget = ClientBudget {
            requests: NonZeroU32::new(2),
            rate: "3/h".parse().ok(),
            burst: NonZeroU32::new(3),
            ..ClientBudget::default()
        };
        let limits = limits(budget, 10);
        let (client, other) = (address("192.0.2.1"), address("192.0.2.2"));
        let first = Clients::request(&limits, client).expect("the first");
        let _second = Clients::request(&limits, client).expect("the second");
        assert_eq!(Clients::request(&limits, client).expect_err("a third"), SOON);
        assert!(Clients::request(&limits, other).is_ok());
        drop(first);
        // The third was asked for, and counts for the rate.
        let wait = Clients::request(&limits, client).expect_err("its rate is used up");
        assert!(wait > Duration::from_secs(600), "{wait:?}");
        let mut table = limits.clients.table();
        let place = table.place(Prefix::of(client), Instant::now());
        assert_eq!(table.entry(place).requests, 1, "what was refused is not under way");
    }

    /// Whoever has a /48 has 65,536 clients: they do not fill the table, and are held to the limits of one beyond some.
    #[test]
    fn a_site_of_ipv6_is_no_crowd() {
        let mut table = Table::new(4 * OF_A_SITE);
        let now = Instant::now();
        let network = |number: u64| Prefix::V6((0x2001_0db8_0001 << 16) | number);
        for number in 0..65_536 {
            let place = table.place(network(number), now);
            table.entry(place).connections += 1;
        }
        assert_eq!((table.entries.len(), table.shared.len()), (OF_A_SITE + 1, 0));
        let place = table.place(network(65_535), now);
        assert_eq!(table.entry(place).connections as usize, 65_536 - OF_A_SITE);
        let other = table.place(Prefix::V6(0x2001_0db8_0002 << 16), now);
        assert_eq!(table.entry(other).connections, 0, "a neighbour has its own");
    }

    #[test]
    fn entries_that_say_nothing_are_used_again() {
        let mut table = Table::new(3);
        let now = Instant::now();
        for number in 0..1000 {
            assert!(
                matches!(table.place(Prefix::V4(number), now), Place::Own(_)),
                "{number}"
            );
        }
        assert_eq!((table.entries.len(), table.places.len()), (3, 3));
    }
}
