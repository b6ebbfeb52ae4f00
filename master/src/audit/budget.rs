//! How many refusals are written one by one: so many of each source in a while, so that a flood of one source
//! fills no disk and hides no other. The rest is counted, and the counts are written.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// How long a while is, in milliseconds.
const SPAN_MS: u64 = 10_000;
/// Refusals of one source that are written one by one in a while.
pub(super) const LISTED_MAX: u32 = 50;
/// Sources that are told apart in a while; the others count as one.
const SOURCES_MAX: usize = 256;

/// See the module.
#[derive(Default)]
pub(super) struct Budget {
    since_ms: u64,
    counts: BTreeMap<String, u64>,
}

impl Budget {
    /// Notes `count` refusals of a source; whether they are to be written.
    pub(super) fn take(&mut self, source: &str, count: u64) -> bool {
        let key = key(source);
        let key = if self.counts.len() < SOURCES_MAX || self.counts.contains_key(&key) {
            key
        } else {
            "other sources".to_owned()
        };
        let refused = self.counts.entry(key).or_default();
        let listed = *refused < u64::from(LISTED_MAX);
        // One line may tell of several.
        *refused = refused.saturating_add(if listed { 1 } else { count });
        listed
    }

    /// If a while is over: how many of which source were not written.
    pub(super) fn end_span(&mut self, now_ms: u64) -> Vec<(String, u64)> {
        if self.since_ms == 0 {
            self.since_ms = now_ms;
        }
        if now_ms.abs_diff(self.since_ms) < SPAN_MS {
            return Vec::new();
        }
        self.since_ms = now_ms;
        self.rest()
    }

    /// How many of which source were not written; all is counted anew then.
    pub(super) fn rest(&mut self) -> Vec<(String, u64)> {
        let counts = std::mem::take(&mut self.counts).into_iter();
        let rest = counts.map(|(source, count)| (source, count.saturating_sub(u64::from(LISTED_MAX))));
        rest.filter(|(_, count)| *count > 0).collect()
    }
}

/// What counts as one source: an address without its port; of IPv6 the network, since who has one address has
/// as many as he likes.
fn key(source: &str) -> String {
    let address = source.parse().map(|address: SocketAddr| address.ip()).or_else(|_| source.parse());
    match address {
        Ok(IpAddr::V6(address)) if address.to_ipv4_mapped().is_none() => {
            let [a, b, c, d, ..] = address.segments();
            format!("{}/64", Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        Ok(address) => address.to_canonical().to_string(),
        Err(_) => source.chars().take(64).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_one_source_takes_nothing_from_another() {
        let mut budget = Budget::default();
        assert!(budget.end_span(SPAN_MS).is_empty());
        let listed = (0..1000).filter(|port| budget.take(&format!("10.0.0.1:{port}"), 1)).count();
        assert_eq!(listed, LISTED_MAX as usize);
        assert!(budget.take("10.0.0.2:7", 1) && budget.take("[::1]:7", 1));
        assert!(budget.end_span(2 * SPAN_MS - 1).is_empty());
        assert_eq!(budget.end_span(2 * SPAN_MS), [("10.0.0.1".to_owned(), 950)]);
        assert!(budget.take("10.0.0.1:1", 1), "a new while");
    }

    #[test]
    fn a_network_is_one_source_and_sources_are_bounded() {
        let mut budget = Budget::default();
        let listed = (0..1000).filter(|host| budget.take(&format!("[2001:db8::{host:x}]:1"), 1)).count();
        assert_eq!(listed, LISTED_MAX as usize);
        for a in 0..=255 {
            for b in 0..=255 {
                budget.take(&format!("10.0.{a}.{b}:1"), 1);
            }
        }
        assert!(budget.counts.len() <= SOURCES_MAX + 1, "{}", budget.counts.len());
        assert_eq!(key("::ffff:10.0.0.1"), "10.0.0.1");
    }
}
