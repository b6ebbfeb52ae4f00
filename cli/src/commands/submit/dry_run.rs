//! `--dry-run`: everything that can be checked on this machine is, and what would be submitted is printed.

use super::conf::Effective;
use super::request::Plugin;
use crate::failure::{Exit, Failure, Outcome};
use crate::print;
use firesteel_common::error::ErrorCode;
use firesteel_common::http::SubmitRequest;

/// Checks the plugin, its entry point and the arguments, then prints the request.
///
/// # Errors
/// What the master would refuse: a file that is no plugin, an unknown entry point, a wrong argument.
pub fn run(request: &SubmitRequest, plugin: Option<&Plugin>, conf: &Effective) -> Outcome<Exit> {
    if let Some(plugin) = plugin {
        let descriptor = firesteel_master::read_descriptor(&plugin.path).map_err(refused)?;
        let entry = descriptor.entry(&request.entry).map_err(refused)?;
        entry.check_args(&request.args).map_err(refused)?;
    }
    if !print::is_verbose() {
        talk_configuration(conf);
    }
    super::super::print_json(request)?;
    Ok(Exit::Done)
}

fn refused(error: firesteel_common::Error) -> Failure {
    match error.code {
        ErrorCode::Io => error.into(),
        _ => Failure::refused(error),
    }
}

/// The configuration with the origin of each value, on stderr.
pub fn talk_configuration(conf: &Effective) {
    let rows: Vec<Vec<String>> = conf.describe().into_iter().map(Vec::from).collect();
    for line in print::table(&["KEY", "VALUE", "ORIGIN"], &rows).lines() {
        print::talk(line);
    }
}
