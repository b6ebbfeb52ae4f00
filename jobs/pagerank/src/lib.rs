//! PageRank by iteration: each page shares its rank among those it points to. The links are cached; the ranks
//! meet them by a join in every iteration.

use firesteel::{Context, Rdd, Result};
use serde::Serialize;

/// The share of a rank that is passed on; the rest is everybody's.
const DAMPING: f64 = 0.85;

/// What is found.
#[derive(Debug, PartialEq, Serialize)]
pub struct Ranks {
    /// How many pages there are.
    pub pages: u64,
    /// The pages with the highest ranks, the highest first.
    pub top: Vec<(u64, f64)>,
}

/// Ranks the pages of a web by who points to them.
#[firesteel::entry]
pub fn pagerank(
    cx: &Context<'_>,
    /// A file with a link a line, as two numbers with a blank between; without it a web is made.
    input: Option<String>,
    /// How many pages the web has that is made (100,000).
    pages: Option<u64>,
    /// How many iterations, at most 1,000 (10).
    iterations: Option<u64>,
    /// How many of the highest ranks are told (10).
    top: Option<u64>,
) -> Result<Ranks> {
    let links = match input {
        Some(path) => cx.text_file(&path)?.flat_map(link).erased(),
        None => {
            let count =
                i64::try_from(pages.unwrap_or(100_000)).map_err(|_| Context::error("too many pages"))?;
            let partitions = cx.default_parallelism().max(1) as usize;
            cx.range(0, count, partitions)
                .flat_map_with(count as u64, |count, page| made(*count, page as u64))
                .erased()
        }
    };
    ranks(&links.distinct().group_by_key().cache(), iterations.unwrap_or(10).min(1_000), top.unwrap_or(10))
}

fn ranks<'s, Op>(links: &Rdd<'s, Op>, iterations: u64, top: u64) -> Result<Ranks>
where
    Op: firesteel::Operator<'s, Item = (u64, Vec<u64>)> + 's,
{
    let mut ranks = links.map_values(|_| 1.0_f64).erased();
    for _ in 0..iterations {
        let shares = links.join(&ranks).flat_map(|(page, (targets, rank))| {
            let share = rank / targets.len() as f64;
            // A page that nobody points to keeps its place with nothing.
            std::iter::once((page, 0.0)).chain(targets.into_iter().map(move |target| (target, share)))
        });
        ranks = shares
            .reduce_by_key(|sum, more| *sum += more)
            .map_values(|sum| 1.0 - DAMPING + DAMPING * sum)
            .erased();
    }
    let limit = usize::try_from(top).unwrap_or(usize::MAX).min(1 << 20);
    let (pages, top) = ranks.aggregate_with(
        limit,
        |_| (0_u64, Vec::new()),
        |limit, (pages, top): &mut (u64, Vec<(u64, f64)>), ranked| {
            *pages += 1;
            top.push(ranked);
            if top.len() >= 2 * *limit {
                highest(top, *limit);
            }
        },
        |(pages, top), (more, mut others)| {
            *pages += more;
            top.append(&mut others);
        },
    )?;
    let mut top = top;
    highest(&mut top, limit);
    Ok(Ranks { pages, top })
}

/// Keeps the highest ranks, the highest first; equal ones in the order of their pages.
fn highest(ranks: &mut Vec<(u64, f64)>, limit: usize) {
    ranks.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    ranks.truncate(limit);
}

/// The link of a line; none if it is not one.
fn link(line: &str) -> Option<(u64, u64)> {
    let (from, to) = line.trim().split_once(char::is_whitespace)?;
    Some((from.parse().ok()?, to.trim().parse().ok()?))
}

/// The links of a page of a made web: to four others, to low numbers more often.
fn made(count: u64, page: u64) -> impl Iterator<Item = (u64, u64)> {
    let mut state = page.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (0..4).map(move |_| {
        state ^= state >> 29;
        state = state.wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let chance = (state >> 11) as f64 / (1_u64 << 53) as f64;
        (page, (chance * chance * count as f64) as u64)
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn the_ranks_are_those_of_a_dense_matrix() {
        const PAGES: usize = 60;
        let found =
            firesteel::testing::run(|cx| pagerank(cx, None, Some(PAGES as u64), Some(8), Some(60))).unwrap();
        let mut matrix = vec![[0.0_f64; PAGES]; PAGES];
        for page in 0..PAGES as u64 {
            let mut targets: Vec<u64> = made(PAGES as u64, page).map(|(_, target)| target).collect();
            targets.sort_unstable();
            targets.dedup();
            for target in &targets {
                matrix[*target as usize][page as usize] = 1.0 / targets.len() as f64;
            }
        }
        let mut ranks = [1.0_f64; PAGES];
        for _ in 0..8 {
            ranks = std::array::from_fn(|to| {
                0.15 + 0.85 * (0..PAGES).map(|from| matrix[to][from] * ranks[from]).sum::<f64>()
            });
        }
        assert_eq!((found.pages, found.top.len()), (PAGES as u64, PAGES));
        for (page, rank) in &found.top {
            assert!((rank - ranks[*page as usize]).abs() < 1e-9, "page {page}: {rank}");
        }
        assert!(found.top.is_sorted_by(|a, b| a.1 >= b.1));
    }

    #[test]
    fn lines_that_are_no_links_are_passed_over() {
        assert_eq!(link("1 2"), Some((1, 2)));
        assert_eq!(link(" 10\t20 "), Some((10, 20)));
        assert_eq!((link("# from to"), link("1"), link("")), (None, None, None));
    }
}
