//! What a policy did, counted.
use serde::Serialize;
use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// What a policy did since it was loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Decisions that were made by running it.
    pub ran: u64,
    /// Runs in an instance that was configured ahead.
    pub ahead: u64,
    /// Runs that went to threads of lower priority from their beginning, because the site had used more than its part of the
    /// processors while others were asked.
    pub deferred: u64,
    /// Decisions that were used again.
    pub reused: u64,
    /// Decisions that were kept with their evidence.
    pub kept: u64,
    /// Decisions that could have been kept, but took too much room.
    pub declined: u64,
    /// Runs that came to nothing.
    pub failed: u64,
    /// Microseconds from the begin of runs to their end, waiting for a turn included.
    pub spent_microseconds: u64,
    /// Decisions that contradicted a kept one (at most one: nothing is kept after it).
    pub contradicted: u64,
    /// Runs that failed after most of their running time.
    pub burnt: u64,
    /// How often the breaker opened.
    pub opened: u64,
    /// Requests that were refused without a run: because the breaker was open,
    pub refused: u64,
    /// because runs for the same client had burnt their time,
    pub throttled: u64,
    /// or because the site's budget was spent.
    pub over_budget: u64,
}

impl Counts {
    /// Adds what another policy did, or this one in another generation.
    pub fn add(&mut self, other: &Self) {
        self.ran += other.ran;
        self.ahead += other.ahead;
        self.deferred += other.deferred;
        self.reused += other.reused;
        self.kept += other.kept;
        self.declined += other.declined;
        self.failed += other.failed;
        self.spent_microseconds += other.spent_microseconds;
        self.contradicted += other.contradicted;
        self.burnt += other.burnt;
        self.opened += other.opened;
        self.refused += other.refused;
        self.throttled += other.throttled;
        self.over_budget += other.over_budget;
    }
}

/// The room that the kept decisions of a chain take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Room {
    pub bytes: usize,
    pub decisions: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    ran: AtomicU64,
    ahead: AtomicU64,
    deferred: AtomicU64,
    reused: AtomicU64,
    kept: AtomicU64,
    declined: AtomicU64,
    failed: AtomicU64,
    spent_microseconds: AtomicU64,
    contradicted: AtomicU64,
    burnt: AtomicU64,
    opened: AtomicU64,
    refused: AtomicU64,
    throttled: AtomicU64,
    over_budget: AtomicU64,
}

impl Counters {
    pub fn ran(&self) {
        self.ran.fetch_add(1, Relaxed);
    }
    pub fn ahead(&self) {
        self.ahead.fetch_add(1, Relaxed);
    }
    pub fn deferred(&self) {
        self.deferred.fetch_add(1, Relaxed);
    }
    pub fn reused(&self) {
        self.reused.fetch_add(1, Relaxed);
    }
    pub fn kept(&self) {
        self.kept.fetch_add(1, Relaxed);
    }
    pub fn declined(&self) {
        self.declined.fetch_add(1, Relaxed);
    }
    pub fn failed(&self) {
        self.failed.fetch_add(1, Relaxed);
    }
    pub fn spent(&self, time: Duration) {
        let microseconds = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.spent_microseconds.fetch_add(microseconds, Relaxed);
    }
    pub fn contradicted(&self) {
        self.contradicted.fetch_add(1, Relaxed);
    }
    pub fn burnt(&self) {
        self.burnt.fetch_add(1, Relaxed);
    }
    pub fn opened(&self) {
        self.opened.fetch_add(1, Relaxed);
    }
    pub fn refused(&self) {
        self.refused.fetch_add(1, Relaxed);
    }
    pub fn throttled(&self) {
        self.throttled.fetch_add(1, Relaxed);
    }
    pub fn over_budget(&self) {
        self.over_budget.fetch_add(1, Relaxed);
    }

    pub fn counts(&self) -> Counts {
        Counts {
            ran: self.ran.load(Relaxed),
            ahead: self.ahead.load(Relaxed),
            deferred: self.deferred.load(Relaxed),
            reused: self.reused.load(Relaxed),
            kept: self.kept.load(Relaxed),
            declined: self.declined.load(Relaxed),
            failed: self.failed.load(Relaxed),
            spent_microseconds: self.spent_microseconds.load(Relaxed),
            contradicted: self.contradicted.load(Relaxed),
            burnt: self.burnt.load(Relaxed),
            opened: self.opened.load(Relaxed),
            refused: self.refused.load(Relaxed),
            throttled: self.throttled.load(Relaxed),
            over_budget: self.over_budget.load(Relaxed),
        }
    }
}
