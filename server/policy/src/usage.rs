//! What the plugins of one site use together: turns in the lane, places for instances, processor time, what services keep.
use crate::{
    Budget, ServiceBudget,
    budget::Account,
    crowd::Crowd,
    lane::Share,
    places::Held,
    running::{Meter, TICK},
    services::{SiteServices, Sites},
};
use std::{
    sync::{Arc, Once},
    time::{Duration, Instant},
};

pub(crate) struct Usage {
    pub lane: Arc<Share>,
    pub places: Arc<Held>,
    pub account: Account,
    /// The same ones in each generation of the site.
    pub services: Arc<SiteServices>,
    limits: ServiceBudget,
    in_use: Once,
}

impl Usage {
    /// Of a site in one generation.
    pub fn new(site: &Arc<str>, budget: &Budget, sites: &Sites, crowd: &Arc<Crowd>) -> Arc<Self> {
        Arc::new(Self {
            lane: Arc::new(Share::new(site, crowd)),
            places: Arc::default(),
            account: Account::new(site, budget, &sites.processors),
            services: sites.of(site, &budget.services),
            limits: budget.services.clone(),
            in_use: Once::new(),
        })
    }

    /// A request came. From the first one on, what the site's services hold, and its processor time, is bounded as this
    /// generation says: not when it is loaded, because that may come to nothing, and the one before goes on.
    pub fn begin(&self) {
        self.lane.member.ask();
        self.in_use.call_once(|| {
            self.services.limit(&self.limits);
            self.account.begin_generation();
        });
    }

    /// A call of one of its policies has ended, which took so long. What ran in the lane was counted there; of the others, which
    /// ended within a tick, the time that went by is as good as what they ran.
    pub fn charge(&self, meter: &Meter, spent: Duration, now: Instant) {
        if !meter.wants_lane() {
            self.lane.member.charge(spent.min(TICK), now);
        }
    }
}
