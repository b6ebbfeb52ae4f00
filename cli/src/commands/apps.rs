//! `firesteel apps`: the applications that a master knows.

use super::{ListFormat, print_list};
use crate::client::{Client, ConnectArgs};
use crate::failure::{Exit, Outcome};
use crate::print;
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use firesteel_common::http::{AppState, AppStatus};
use firesteel_common::options::millis;
use std::time::SystemTime;

/// How many are asked for at a time.
const PAGE: usize = 1_000;
/// The most pages that are asked for.
const PAGES_MAX: usize = 1_000;

/// Lists the applications of the cluster, the latest last
#[derive(Debug, Args)]
pub struct AppsArgs {
    /// Only those in this state; may be repeated
    #[arg(long, value_parser = state(), value_name = "STATE")]
    state: Vec<AppState>,
    /// Only those whose name contains this, in upper or lower case
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// Only those that the token of this name has submitted; cluster is the cluster's own
    #[arg(long, value_name = "NAME")]
    owner: Option<String>,
    /// Only those with this tag, NAME or NAME=VALUE
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
    /// Only those of this pool
    #[arg(long, visible_alias = "pool", value_name = "POOL")]
    queue: Option<String>,
    /// Only those that were submitted within this time, such as 30min or 2h
    #[arg(long, value_name = "TIME", value_parser = millis)]
    since: Option<u64>,
    /// At most this many, the latest
    #[arg(long, value_name = "N", default_value = "100", value_parser = at_least_one)]
    limit: usize,
    /// Leave out this many of the latest (the next page)
    #[arg(long, value_name = "N", default_value_t = 0)]
    skip: usize,
    /// How to print it
    #[arg(short = 'o', long = "output", alias = "format", value_enum, default_value_t)]
    format: ListFormat,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// Reads a state by its name.
fn state() -> impl TypedValueParser<Value = AppState> {
    let names = PossibleValuesParser::new(AppState::ALL.map(AppState::as_str));
    names.try_map(|name| AppState::ALL.into_iter().find(|state| state.as_str() == name).ok_or("no state"))
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|limit| *limit > 0).ok_or_else(|| "a whole number from 1 on".to_owned())
}

impl AppsArgs {
    /// One row for each.
    pub fn run(self) -> Outcome<Exit> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let filter = self.filter(u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
        let (page, earlier) = self.fetch(&Client::find(&self.connect)?, &filter)?;
        let header = ["APPLICATION", "STATE", "SUBMITTED", "SECONDS", "POOL", "OWNER", "NAME"];
        let exit = print_list(&page, self.format, &header, |app| {
            vec![
                app.app.to_string(),
                app.state.as_str().into(),
                print::utc(app.submitted_ms),
                super::status::seconds(app).unwrap_or_default(),
                app.pool.clone(),
                super::status::owner(app).to_owned(),
                app.name.clone(),
            ]
        })?;
        if earlier > 0 && self.format == ListFormat::Table {
            let next = self.skip.saturating_add(self.limit);
            print::talk(format!("earlier ones: {earlier} (--skip {next} shows them)"));
        }
        Ok(exit)
    }

    /// What the master is asked for.
    fn filter(&self, now_ms: u64) -> Vec<(&'static str, String)> {
        let states: Vec<&str> = self.state.iter().map(|state| state.as_str()).collect();
        let since = self.since.map(|span| now_ms.saturating_sub(span).to_string());
        let all = [
            ("state", (!states.is_empty()).then(|| states.join(","))),
            ("name", self.name.clone()),
            ("owner", self.owner.clone()),
            ("tag", self.tag.clone()),
            ("pool", self.queue.clone()),
            ("since_ms", since),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }

    /// The page, the latest last, and how many there are before it.
    fn fetch(&self, client: &Client, filter: &[(&'static str, String)]) -> Outcome<(Vec<AppStatus>, usize)> {
        let (mut found, mut total): (Vec<AppStatus>, usize) = (Vec::new(), 0);
        for _ in 0..PAGES_MAX {
            let mut query = filter.to_vec();
            query.push(("offset", self.skip.saturating_add(found.len()).to_string()));
            query.push(("limit", PAGE.min(self.limit - found.len()).to_string()));
            let (page, of) = client.get_page("/applications", &query)?;
            total = of;
            let last = page.is_empty();
            found.extend(page);
            if last || found.len() >= self.limit {
                break;
            }
        }
        let earlier = total.saturating_sub(self.skip).saturating_sub(found.len());
        found.sort_by_key(|app| app.app);
        // One that was submitted between two requests moves the pages: it may come twice.
        found.dedup_by_key(|app| app.app);
        Ok((found, earlier))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: AppsArgs,
    }

    #[test]
    fn the_master_is_asked_for_what_the_flags_say() {
        let filter = |line: &str| {
            let line = ["apps"].into_iter().chain(line.split_whitespace());
            let pairs = Line::parse_from(line).args.filter(10_000_000);
            pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(filter(""), "");
        assert_eq!(filter("--state failed --state killed"), "state=failed,killed");
        assert_eq!(filter("--name a --owner ann --tag t=1"), "name=a owner=ann tag=t=1");
        assert_eq!(filter("--pool batch --since 1h"), "pool=batch since_ms=6400000");
        assert_eq!(filter("--since 365d"), "since_ms=0");
    }
}
