//! `firesteel plugins`: the plugins that a master stores, and how to call them.

use super::{ListFormat, print_json};
use crate::client::{Client, ConnectArgs};
use crate::failure::{Exit, Outcome};
use crate::print;
use clap::{Args, Subcommand};
use firesteel_common::http::PluginInfo;
use firesteel_common::id::PluginHash;

/// Lists the plugins of the cluster with their entry points and arguments
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct PluginsArgs {
    #[command(subcommand)]
    command: Option<PluginsCommand>,
    /// How to print it
    #[arg(short = 'o', long = "output", alias = "format", value_enum, default_value_t)]
    format: ListFormat,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Debug, Subcommand)]
enum PluginsCommand {
    /// Removes a plugin that no application uses
    Delete {
        /// Its hash, as the list shows it
        #[arg(value_name = "HASH")]
        hash: PluginHash,
        #[command(flatten)]
        connect: ConnectArgs,
    },
}

impl PluginsArgs {
    /// A paragraph for each.
    pub fn run(self) -> Outcome<Exit> {
        if let Some(PluginsCommand::Delete { hash, connect }) = self.command {
            Client::find(&connect)?.delete(&format!("/plugins/{hash}"))?;
            print::talk(format!("{hash} is deleted"));
            return Ok(Exit::Done);
        }
        let plugins: Vec<PluginInfo> = Client::find(&self.connect)?.get("/plugins")?;
        match self.format {
            ListFormat::Json => print_json(&plugins)?,
            ListFormat::Table => {
                for plugin in &plugins {
                    print::data(print::safe(&describe(plugin)).as_bytes())?;
                }
            }
        }
        Ok(Exit::Done)
    }
}

fn describe(plugin: &PluginInfo) -> String {
    let mut text = format!("{} ({} bytes, {})\n", plugin.hash, plugin.bytes, plugin.descriptor.rustc);
    for entry in &plugin.descriptor.entries {
        text.push_str(&format!("  {}\n", entry.usage()));
        for line in entry.doc.lines().map(str::trim).filter(|line| !line.is_empty()) {
            text.push_str(&format!("      {line}\n"));
        }
    }
    text
}
