//! `firesteel config`: the settings that are in force and where each comes from, and every key there is.

use super::{ListFormat, print_json, submit::is_secret};
use crate::failure::{Exit, Outcome};
use crate::print;
use crate::settings::{SettingsArgs, documented};
use clap::{Args, Subcommand};
use firesteel_common::options::KEYS;
use std::collections::BTreeMap;

/// Shows settings: those in force, and every key there is
#[derive(Debug, Args)]
pub struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Prints every setting of the cluster as a master or a worker started here would see it
    Show {
        /// Say where each value comes from
        #[arg(long)]
        origin: bool,
        /// How to print it
        #[arg(short = 'o', long = "output", alias = "format", value_enum, default_value_t)]
        format: ListFormat,
        #[command(flatten)]
        settings: SettingsArgs,
    },
    /// Lists every key with its default and its meaning: of the cluster, and of a submission (--conf)
    Keys {
        /// How to print it
        #[arg(short = 'o', long = "output", alias = "format", value_enum, default_value_t)]
        format: ListFormat,
    },
}

#[derive(serde::Serialize)]
struct Setting {
    value: String,
    origin: String,
}

#[derive(serde::Serialize)]
struct Key {
    key: String,
    default: String,
    of: &'static str,
    doc: String,
}

impl ConfigArgs {
    /// Prints them.
    pub fn run(self) -> Outcome<Exit> {
        match self.command {
            ConfigCommand::Show { origin, format, settings } => show(&settings, origin, format)?,
            ConfigCommand::Keys { format } => keys(format)?,
        }
        Ok(Exit::Done)
    }
}

fn show(settings: &SettingsArgs, origin: bool, format: ListFormat) -> Outcome<()> {
    let rows = settings.describe()?.into_iter().map(|(key, value, origin)| {
        let value = if is_secret(&key) { "(redacted)".to_owned() } else { value };
        (key, Setting { value, origin })
    });
    let rows: BTreeMap<String, Setting> = rows.collect();
    if format == ListFormat::Json {
        return print_json(&rows);
    }
    let cells = |(key, setting): (&String, &Setting)| {
        let mut row = vec![key.clone(), setting.value.clone()];
        row.extend(origin.then(|| setting.origin.clone()));
        row
    };
    let table: Vec<_> = rows.iter().map(cells).collect();
    let header: &[&str] = if origin { &["KEY", "VALUE", "ORIGIN"] } else { &["KEY", "VALUE"] };
    print::data(print::table(header, &table).as_bytes())
}

fn keys(format: ListFormat) -> Outcome<()> {
    let of_cluster =
        documented().into_iter().map(|(key, default, doc)| Key { key, default, of: "cluster", doc });
    let of_submission = KEYS.iter().map(|key| Key {
        key: key.name.to_owned(),
        default: key.default.to_owned(),
        of: "submission",
        doc: key.doc.to_owned(),
    });
    let all: Vec<Key> = of_cluster.chain(of_submission).collect();
    if format == ListFormat::Json {
        return print_json(&all);
    }
    let cells = |key: &Key| [&key.key, &key.default, key.of, &key.doc].map(|text| text.to_string()).to_vec();
    let rows: Vec<_> = all.iter().map(cells).collect();
    print::data(print::table(&["KEY", "DEFAULT", "OF", "MEANING"], &rows).as_bytes())
}
