//! Rules about addresses, and lists of them.
use std::str::FromStr;
use wasmserve_plugin::{Network, Request};

/// What becomes of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Allow,
    Deny,
}

/// `allow 10.0.0.0/8`, `deny all`.
#[derive(Debug)]
pub struct Rule {
    action: Action,
    /// `None`: all.
    network: Option<Network>,
}

/// Rules in order, of which the first that holds counts. The last one holds for everybody.
#[derive(Debug)]
pub struct List {
    rules: Vec<(Action, Network)>,
    otherwise: Action,
}

impl FromStr for Rule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = "is no rule: expected \"allow\" or \"deny\", a blank, and an address, a CIDR block or \"all\"";
        let (action, network) = text.split_once(' ').ok_or(expected)?;
        let action = match action {
            "allow" => Action::Allow,
            "deny" => Action::Deny,
            _ => return Err(expected.to_owned()),
        };
        let network = match network.trim() {
            "all" => None,
            network => Some(network.parse().map_err(|problem| format!("{problem}"))?),
        };
        Ok(Self { action, network })
    }
}

impl List {
    /// # Errors
    /// The last rule, and only that, has to hold for everybody: what becomes of the others is said, not left to a default.
    pub fn new(rules: Vec<Rule>) -> Result<Self, &'static str> {
        let mut networks = Vec::new();
        let mut otherwise = None;
        for rule in rules {
            if otherwise.is_some() {
                return Err("has rules behind one for \"all\", which would never be looked at");
            }
            match rule.network {
                Some(network) => networks.push((rule.action, network)),
                None => otherwise = Some(rule.action),
            }
        }
        let otherwise = otherwise.ok_or("has to end with \"allow all\" or \"deny all\", for everybody else")?;
        Ok(Self {
            rules: networks,
            otherwise,
        })
    }

    /// What becomes of the client. Asks no more than it needs: not about rules that would end as all behind them do.
    pub fn of(&self, request: &Request) -> Action {
        let decided = self.rules.iter().rposition(|(action, _)| *action != self.otherwise);
        let needed = &self.rules[..decided.map_or(0, |last| last + 1)];
        let held = needed
            .iter()
            .find(|(_, network)| request.client_within(network.as_ref()));
        held.map_or(self.otherwise, |(action, _)| *action)
    }
}
