//! PageRank over a file of links: only pages that somebody points to have a rank after the first iteration.

use crate::pairs::pairs;
use firesteel::fixed::U32;
use firesteel::{Context, ErasedRdd, Result};
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

/// The links from the pages of one partition, as words that lie in a cached block: how many of its pages and
/// of those of each partition there are, how many links leave each page, and for each page of each partition,
/// whom it is linked from. Page `n` is number `n / partitions` of partition `n % partitions`.
struct Links<'a> {
    /// Links that leave each page of this partition.
    leaving: &'a [U32],
    /// Pages of each partition.
    width: usize,
    /// Where the sources of each page of each partition begin, and where the last ones end.
    starts: &'a [U32],
    /// Numbers of pages of this partition.
    sources: &'a [U32],
}

impl<'a> Links<'a> {
    /// The words of the links of a partition.
    fn words(mut links: Vec<(u32, u32)>, partitions: u32) -> Vec<U32> {
        let pages = links.iter().map(|(from, _)| from / partitions + 1).max().unwrap_or(0);
        let width = links.iter().map(|(_, to)| to / partitions + 1).max().unwrap_or(0);
        // The number of the source in its partition, and the place of the target among those of all.
        for (from, to) in &mut links {
            let number = *to / partitions;
            (*from, *to) = (*from / partitions, (*to - number * partitions) * width + number);
        }
        let targets = partitions as usize * width as usize;
        let (mut leaving, mut ends) = (vec![0_u32; pages as usize], vec![0_u32; targets + 1]);
        for (from, place) in &links {
            leaving[*from as usize] += 1;
            ends[*place as usize] += 1;
        }
        let mut sum = 0;
        for end in &mut ends {
            sum += *end;
            *end = sum;
        }
        let mut sources = vec![U32::ZERO; links.len()];
        // From the last one on, so that each end becomes a start.
        for (from, place) in links.iter().rev() {
            let end = &mut ends[*place as usize];
            *end -= 1;
            sources[*end as usize] = U32::new(*from);
        }
        drop(links);
        let mut words = Vec::with_capacity(2 + leaving.len() + ends.len() + sources.len());
        let head = [pages, width];
        words.extend(head.into_iter().chain(leaving).chain(ends).map(U32::new));
        words.append(&mut sources);
        words
    }

    /// The links in such words.
    fn of(words: &'a [U32], partitions: u32) -> Option<Self> {
        let ([pages, width], rest) = words.split_first_chunk()?;
        let (leaving, rest) = rest.split_at_checked(pages.get() as usize)?;
        let width = width.get() as usize;
        let (starts, sources) = rest.split_at_checked(partitions as usize * width + 1)?;
        Some(Self { leaving, width, starts, sources })
    }

    /// What the pages of this partition give to those of another.
    fn shares(&self, given: &[f64], partition: usize) -> Vec<f64> {
        let first = partition * self.width;
        let starts = &self.starts[first..=first + self.width];
        let sum = |ends: &[U32]| {
            let sources = &self.sources[ends[0].get() as usize..ends[1].get() as usize];
            sources.iter().map(|source| given[source.get() as usize]).sum()
        };
        starts.windows(2).map(sum).collect()
    }
}

/// What each page gives to every page that it is linked to.
fn given(links: &Links<'_>, ranks: Option<&[f64]>) -> Vec<f64> {
    let rank = |page: usize| ranks.map_or(1.0, |ranks| ranks.get(page).copied().unwrap_or(0.0));
    let leaving = links.leaving.iter().map(|links| f64::from(links.get()));
    leaving.enumerate().map(|(page, links)| if links > 0.0 { rank(page) / links } else { 0.0 }).collect()
}

/// Adds what pages are given.
fn add(sums: &mut Vec<f64>, more: Vec<f64>) {
    if sums.len() < more.len() {
        sums.resize(more.len(), 0.0);
    }
    sums.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
}

/// Ranks the pages of a web by who points to them. Pages are numbers without large gaps, so each partition
/// holds its ranks and its links as lists, and what partitions tell each other are lists, too.
#[firesteel::entry]
pub fn pagerank(
    cx: &Context<'_>,
    /// A file with a link a line: two pages, which are whole numbers below 2^32 without large gaps.
    input: String,
    /// How many iterations, from 1 to 1,000 (20).
    iterations: Option<u64>,
    /// How many partitions, at most 1,000 (one for each slot).
    partitions: Option<u64>,
) -> Result<Ranks> {
    let partitions = partitions.map_or(cx.slots(), |many| many.min(1_000) as u32).max(1);
    let blocks = cx
        .text_blocks_in(&input, 2 * cx.default_parallelism())?
        .flat_map(pairs)
        .map(|(from, to)| (from as u32, to as u32))
        .partition_by_function(partitions, |from| *from)
        .fold_partitions(Vec::new, |links, link| links.push(link))
        .flat_map_with(partitions, |partitions, links| Links::words(links, *partitions))
        .cache()
        .slices();
    let mut ranks: Option<ErasedRdd<'_, Vec<f64>>> = None;
    for _ in 0..iterations.unwrap_or(20).clamp(1, 1_000) {
        let shares = match &ranks {
            None => blocks
                .flat_map_with(partitions, |partitions, words| shares(words, None, *partitions))
                .erased(),
            Some(ranks) => blocks
                .zip_partitions(ranks, partitions, |partitions, words, ranks| {
                    let both = words.into_iter().zip(&ranks);
                    let all = both.map(|(words, ranks)| shares(words, Some(ranks), *partitions));
                    all.flatten().collect::<Vec<_>>()
                })
                .erased(),
        };
        let sums = shares
            .partition_by_function(partitions, |partition| *partition)
            .fold_partitions(Vec::new, |sums, (_, more)| add(sums, more));
        ranks = Some(
            sums.map(|mut sums| {
                sums.iter_mut()
                    .filter(|sum| **sum > 0.0)
                    .for_each(|sum| *sum = 1.0 - DAMPING + DAMPING * *sum);
                sums
            })
            .erased(),
        );
    }
    let links = blocks.map_with(partitions, |partitions, words| {
        Links::of(words, *partitions).map_or(0, |links| links.sources.len() as u64)
    });
    let links = links.fold(0, |sum, more| sum + more)?;
    let Some(ranks) = ranks else { return Err(Context::error("there was no iteration")) };
    let best = ranks.map_partitions_with_index_with(partitions, |partitions, index, ranks| {
        ranks.into_iter().map(|ranks| best(&ranks, index, *partitions)).collect::<Vec<_>>()
    });
    let (mut pages, mut sum, mut top) = (0, 0.0, Vec::new());
    for (more, also, mut others) in best.collect()? {
        pages += more;
        sum += also;
        top.append(&mut others);
    }
    highest(&mut top);
    Ok(Ranks { links, pages, sum, top })
}

/// What the pages of one partition give to those of each.
fn shares(words: &[U32], ranks: Option<&[f64]>, partitions: u32) -> Vec<(u32, Vec<f64>)> {
    let Some(links) = Links::of(words, partitions) else { return Vec::new() };
    let given = given(&links, ranks);
    (0..partitions).map(|partition| (partition, links.shares(&given, partition as usize))).collect()
}

/// How many pages of a partition have a rank, their sum, and the highest.
fn best(ranks: &[f64], index: u32, partitions: u32) -> (u64, f64, Vec<(u32, f64)>) {
    let (mut pages, mut sum, mut top) = (0, 0.0, Vec::new());
    for (number, rank) in (0_u32..).zip(ranks).filter(|(_, rank)| **rank > 0.0) {
        pages += 1;
        sum += rank;
        top.push((number * partitions + index, *rank));
        if top.len() >= 8 * TOP {
            highest(&mut top);
        }
    }
    highest(&mut top);
    (pages, sum, top)
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
