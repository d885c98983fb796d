//! What the plugins of one site use together: turns in the lane, places for instances, processor time, what services keep.
use crate::{
    Budget, ServiceBudget,
    budget::Account,
    lane::Share,
    places::Held,
    services::{SiteServices, Sites},
};
use std::sync::{Arc, Once};

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
    pub fn new(site: &Arc<str>, budget: &Budget, sites: &Sites) -> Arc<Self> {
        Arc::new(Self {
            lane: Arc::default(),
            places: Arc::default(),
            account: Account::new(site, budget, &sites.processors),
            services: sites.of(site, &budget.services),
            limits: budget.services.clone(),
            in_use: Once::new(),
        })
    }

    /// A first request came: from now on what the site's services hold, and its processor time, is bounded as this
    /// generation says. Not when it is loaded: that may come to nothing, and the one before goes on.
    pub fn begin(&self) {
        self.in_use.call_once(|| {
            self.services.limit(&self.limits);
            self.account.begin_generation();
        });
    }
}
