//! A plugin that does what no honest job does: it crashes, hangs, eats, and attacks what is around it, in its
//! driver or in a task, as it is told. For tests; every deed is bounded, so that nothing but the test's own
//! cluster suffers even where no sandbox is in force.

mod attacks;
mod deeds;
mod sys;

use firesteel::{Context, Result};

/// Does one deed that is mostly the end of the process which does it.
#[firesteel::entry]
pub fn naughty(
    cx: &Context<'_>,
    /// What to do, such as `segfault`.
    deed: String,
    /// `driver` or `task`.
    place: String,
    /// How much of it, where that can be said.
    amount: Option<u64>,
) -> Result<Vec<String>> {
    let amount = amount.unwrap_or(u64::MAX);
    if place == "driver" {
        return Ok(vec![deeds::perform(&deed, amount)]);
    }
    // The other task is an innocent neighbour.
    let done = cx.range(0, 2, 2).map_with((deed, amount), |(deed, amount), number| {
        if number == 0 { deeds::perform(deed, *amount) } else { "innocent".to_owned() }
    });
    done.collect()
}

/// Tries attacks, and says of each whether it was refused.
#[firesteel::entry]
pub fn attack(
    cx: &Context<'_>,
    /// One a line, such as `read=/etc/shadow`.
    what: String,
    /// `driver` or `task`.
    place: String,
) -> Result<Vec<String>> {
    if place == "driver" {
        return Ok(attacks::try_all(&what));
    }
    cx.range(0, 1, 1).flat_map_with(what, |what, _| attacks::try_all(what)).collect()
}

/// An honest job: counts to 1,000 in four tasks, over a shuffle.
#[firesteel::entry]
pub fn honest(cx: &Context<'_>) -> Result<u64> {
    let pairs = cx.range(0, 1000, 4).map(|number| (number % 10, 1_u64));
    let counts = pairs.reduce_by_key(|count, more| *count += more).collect()?;
    Ok(counts.into_iter().map(|(_, count)| count).sum())
}
