//! PageRank over a file of links: only pages that somebody points to have a rank after the first iteration.

use crate::pairs::pairs;
use firesteel::{Context, Result};
use serde::Serialize;

/// The share of a rank that is passed on; the rest is everybody's.
const DAMPING: f64 = 0.85;
/// How many of the highest ranks are told.
const TOP: usize = 5;

/// What is found.
#[derive(Debug, PartialEq, Serialize)]
pub struct Ranks {
    /// Links.
    pub links: u64,
    /// Pages with a rank.
    pub pages: u64,
    /// The sum of all ranks.
    pub sum: f64,
    /// The pages with the highest ranks, the highest first.
    pub top: Vec<(u32, f64)>,
}

/// Keeps the highest ranks, the highest first; equal ones in the order of their pages.
fn highest(ranks: &mut Vec<(u32, f64)>) {
    ranks.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    ranks.truncate(TOP);
}

/// Ranks the pages of a web by who points to them.
#[firesteel::entry]
pub fn pagerank(
    cx: &Context<'_>,
    /// A file with a link a line: two pages, which are whole numbers below 2^32 without large gaps.
    input: String,
    /// How many iterations, at most 1,000 (20).
    iterations: Option<u64>,
    /// How many partitions (one for each slot).
    partitions: Option<u64>,
) -> Result<Ranks> {
    let partitions = partitions.map_or(cx.slots(), |many| many.min(1 << 20) as u32);
    let links = cx
        .text_blocks_in(&input, 2 * cx.default_parallelism())?
        .flat_map(pairs)
        .map(|(from, to)| (from as u32, to as u32))
        .group_by_key_in(partitions)
        .cache();
    let mut ranks = links.map_values(|_| 1.0_f64).erased();
    for _ in 0..iterations.unwrap_or(20).min(1_000) {
        ranks = ranks
            .join(&links)
            // Pages are numbers without large gaps: what one partition gives them is added up in a list.
            .fold_partitions(Vec::new, |sums: &mut Vec<f64>, (_, (rank, targets))| {
                let share = rank / targets.len() as f64;
                for target in targets {
                    let page = target as usize;
                    if page >= sums.len() {
                        sums.resize(page + 1, 0.0);
                    }
                    sums[page] += share;
                }
            })
            .flat_map(|sums| (0_u32..).zip(sums).filter(|(_, sum)| *sum > 0.0))
            .reduce_by_key_in(partitions, |sum, more| *sum += more)
            .map_values(|sum| 1.0 - DAMPING + DAMPING * sum)
            .erased();
    }
    let links =
        links.aggregate(|| 0, |sum, (_, targets)| *sum += targets.len() as u64, |sum, more| *sum += more)?;
    let (pages, sum, mut top) = ranks.aggregate(
        || (0_u64, 0.0, Vec::new()),
        |(pages, sum, top): &mut (u64, f64, Vec<(u32, f64)>), ranked| {
            *pages += 1;
            *sum += ranked.1;
            top.push(ranked);
            if top.len() >= 8 * TOP {
                highest(top);
            }
        },
        |(pages, sum, top), (more, also, mut others)| {
            *pages += more;
            *sum += also;
            top.append(&mut others);
        },
    )?;
    highest(&mut top);
    Ok(Ranks { links, pages, sum, top })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn the_ranks_are_those_of_a_plain_loop() {
        let links: Vec<(u32, u32)> =
            (0..4_000_u32).map(|n| (n * 7 % 501, n * n % 499)).filter(|(from, to)| from != to).collect();
        let mut out: BTreeMap<u32, f64> = BTreeMap::new();
        links.iter().for_each(|(from, _)| *out.entry(*from).or_default() += 1.0);
        let mut ranks: BTreeMap<u32, f64> = out.keys().map(|page| (*page, 1.0)).collect();
        for _ in 0..9 {
            let mut next: BTreeMap<u32, f64> = BTreeMap::new();
            for (from, to) in &links {
                if let Some(rank) = ranks.get(from) {
                    *next.entry(*to).or_default() += rank / out[from];
                }
            }
            ranks = next.into_iter().map(|(page, sum)| (page, 0.15 + 0.85 * sum)).collect();
        }
        let file = std::env::temp_dir().join(format!("firesteel-links-{}", std::process::id()));
        let text: String = links.iter().map(|(from, to)| format!("{from} {to}\n")).collect();
        std::fs::write(&file, text).unwrap();
        let path = file.display().to_string();
        let told = firesteel::testing::run(|cx| pagerank(cx, path.clone(), Some(9), None)).unwrap();
        std::fs::remove_file(&file).unwrap();
        assert_eq!((told.links, told.pages), (links.len() as u64, ranks.len() as u64));
        assert!((told.sum - ranks.values().sum::<f64>()).abs() < 1e-9, "{told:?}");
        assert_eq!(told.top.len(), TOP);
        for (page, rank) in &told.top {
            assert!((rank - ranks[page]).abs() < 1e-9);
        }
    }
}
