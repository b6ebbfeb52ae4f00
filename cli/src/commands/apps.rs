//! `firesteel apps`: the applications that a master knows.

use super::{ListFormat, print_list};
use crate::client::{Client, ConnectArgs};
use crate::failure::{Exit, Outcome};
use crate::print;
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use firesteel_common::http::{AppState, AppStatus};

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
    /// Only those whose name contains this
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// Only those with this tag, NAME or NAME=VALUE
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
    /// Only those of this pool
    #[arg(long, value_name = "POOL")]
    queue: Option<String>,
    /// At most this many, the latest
    #[arg(long, value_name = "N", default_value_t = 100)]
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

impl AppsArgs {
    /// One row for each.
    pub fn run(self) -> Outcome<Exit> {
        let (page, more) = self.page(self.fetch(&Client::find(&self.connect)?)?);
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
        if more > 0 && self.format == ListFormat::Table {
            print::talk(format!("there are earlier ones: --skip {} shows them", self.skip + self.limit));
        }
        Ok(exit)
    }

    /// Those that are wanted, the newest first, until there are enough to know whether there are more.
    fn fetch(&self, client: &Client) -> Outcome<Vec<AppStatus>> {
        let enough = self.skip.saturating_add(self.limit).saturating_add(1);
        let (mut found, mut offset) = (Vec::new(), 0);
        for _ in 0..PAGES_MAX {
            let path = format!("/applications?offset={offset}&limit={PAGE}");
            let page: Vec<AppStatus> = client.get(&path)?;
            let last = page.is_empty();
            offset += page.len();
            found.extend(page.into_iter().filter(|app| self.wants(app)));
            if last || found.len() >= enough {
                break;
            }
        }
        Ok(found)
    }

    /// The page, and how many are known before it.
    fn page(&self, mut apps: Vec<AppStatus>) -> (Vec<AppStatus>, usize) {
        apps.retain(|app| self.wants(app));
        apps.sort_by_key(|app| app.app);
        // One that was submitted between two requests moves the pages: it may come twice.
        apps.dedup_by_key(|app| app.app);
        apps.truncate(apps.len().saturating_sub(self.skip));
        let more = apps.len().saturating_sub(self.limit);
        (apps.split_off(more), more)
    }

    fn wants(&self, app: &AppStatus) -> bool {
        let has_tag = |wanted: &String| match wanted.split_once('=') {
            Some((name, value)) => app.tags.get(name).is_some_and(|found| found == value),
            None => app.tags.contains_key(wanted),
        };
        (self.state.is_empty() || self.state.contains(&app.state))
            && self.name.as_ref().is_none_or(|text| app.name.contains(text))
            && self.tag.as_ref().is_none_or(has_tag)
            && self.queue.as_ref().is_none_or(|pool| app.pool == *pool)
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

    fn app(number: u64, state: &str) -> AppStatus {
        serde_json::from_value(serde_json::json!({
            "app": number, "name": format!("job {number}"), "state": state, "attempt": 0, "driver": null,
            "submitted_ms": 0, "ended_ms": null, "error": null, "result_bytes": null,
            "tags": {"team": "a"}, "pool": "default",
        }))
        .unwrap()
    }

    fn page(line: &[&str]) -> (Vec<u64>, usize) {
        let args = Line::parse_from([&["apps"], line].concat()).args;
        let apps = (1..=5).map(|number| app(number, if number == 2 { "failed" } else { "running" }));
        let (apps, more) = args.page(apps.rev().collect());
        (apps.iter().map(|app| app.app.0).collect(), more)
    }

    #[test]
    fn the_latest_are_shown_and_the_next_page_is_before_them() {
        assert_eq!(page(&[]), (vec![1, 2, 3, 4, 5], 0));
        assert_eq!(page(&["--limit", "2"]), (vec![4, 5], 3));
        assert_eq!(page(&["--limit", "2", "--skip", "2"]), (vec![2, 3], 1));
        assert_eq!(page(&["--state", "failed"]), (vec![2], 0));
        assert_eq!(page(&["--name", "job 3"]), (vec![3], 0));
        assert_eq!(page(&["--tag", "team=b"]), (vec![], 0));
        assert_eq!(page(&["--tag", "team", "--skip", "9"]), (vec![], 0));
    }
}
