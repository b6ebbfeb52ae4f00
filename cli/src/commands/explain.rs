//! `firesteel explain CODE`: what an error code means, and what to do about it.

use super::{ListFormat, print_json};
use crate::failure::{Exit, Failure, Outcome};
use crate::print;
use clap::Args;
use firesteel_common::error::{ErrorClass, ErrorCode, nearest};

/// Says what an error code means and what to do about it; without one, lists all codes
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The code, such as BAD_ARGUMENT
    #[arg(value_name = "CODE")]
    code: Option<String>,
    /// How to print it
    #[arg(short = 'o', long = "output", alias = "format", value_enum, default_value_t)]
    format: ListFormat,
}

#[derive(serde::Serialize)]
struct Explained {
    code: ErrorCode,
    class: ErrorClass,
    remedy: &'static str,
}

impl ExplainArgs {
    /// Prints it.
    pub fn run(self) -> Outcome<Exit> {
        let codes = match &self.code {
            Some(text) => vec![find(text)?],
            None => ErrorCode::ALL.to_vec(),
        };
        let explained =
            |code: &ErrorCode| Explained { code: *code, class: code.class(), remedy: remedy(*code) };
        if self.format == ListFormat::Json {
            print_json(&codes.iter().map(explained).collect::<Vec<_>>())?;
            return Ok(Exit::Done);
        }
        for code in &codes {
            let class = match code.class() {
                ErrorClass::Retryable => "trying again may help",
                ErrorClass::User => "the request, the job or the set-up must change",
                ErrorClass::Bug => "Firesteel must change: please report it with its detail",
            };
            print::line(format!("{code}: {class}\n    {}", remedy(*code)))?;
        }
        Ok(Exit::Done)
    }
}

fn find(text: &str) -> Outcome<ErrorCode> {
    let wanted = text.trim_matches(['[', ']']).to_ascii_uppercase().replace('-', "_");
    ErrorCode::ALL.iter().copied().find(|code| code.as_str() == wanted).ok_or_else(|| {
        let near = nearest(&wanted, ErrorCode::ALL.iter().map(|code| code.as_str()));
        let help = near
            .map_or("`firesteel explain` lists all codes".to_owned(), |near| format!("did you mean {near}?"));
        Failure::usage(format!("there is no error code '{}'", print::safe(text))).with_help(help)
    })
}

/// What it means and what to do, in a sentence or two.
fn remedy(code: ErrorCode) -> &'static str {
    TABLE
        .iter()
        .find(|(known, _)| *known == code)
        .map_or("the message of the error names the cause", |(_, text)| text)
}

const TABLE: &[(ErrorCode, &str)] = &[
    (
        ErrorCode::PermissionDenied,
        "The token's role does not allow it. Ask an administrator for another (`firesteel tokens create`).",
    ),
    (
        ErrorCode::BadRequest,
        "The request is not understood. Compare it with --help, or with the API document.",
    ),
    (
        ErrorCode::BadArgument,
        "An argument is missing, unknown or of the wrong type; `firesteel plugins` shows them.",
    ),
    (
        ErrorCode::Unauthenticated,
        "The token is missing or wrong. Give it with --token-file or FIRESTEEL_TOKEN.",
    ),
    (
        ErrorCode::NotFound,
        "Nothing has that name. `firesteel apps`, `plugins` and `workers` list what there is.",
    ),
    (ErrorCode::Conflict, "An earlier request said otherwise. Use another idempotency key or run directory."),
    (
        ErrorCode::TooLarge,
        "It is larger than the master takes. Make it smaller, or raise the limit it names.",
    ),
    (ErrorCode::PluginInvalid, "The file is no plugin. Build a cdylib that depends on the firesteel crate."),
    (
        ErrorCode::PluginAbi,
        "The plugin is of another ABI version. Build it with the firesteel crate of this version.",
    ),
    (ErrorCode::EntryNotFound, "The plugin has no such entry point; the help names the nearest one."),
    (
        ErrorCode::InputNotReadable,
        "Workers open the path: it must be absolute, and readable for them, on each machine.",
    ),
    (ErrorCode::OutputExists, "Results are never overwritten. Name another directory, or remove this one."),
    (ErrorCode::OutputNotWritable, "Workers write it: the path must be absolute and writable for them."),
    (ErrorCode::JobFailed, "The job's own code returned this error."),
    (ErrorCode::Panicked, "The job's own code panicked; the detail holds its message and where it was."),
    (
        ErrorCode::ProcessDied,
        "A process with the job's code died: a crash, exit() or a limit. See `firesteel logs`.",
    ),
    (ErrorCode::SqlInvalid, "The SQL text is wrong at the place that the message names."),
    (ErrorCode::SqlFailed, "The query failed on its data; the message names the value or the operator."),
    (ErrorCode::Unsupported, "This version does not have it; the message names what."),
    (
        ErrorCode::TaskRetriesExhausted,
        "A task failed as often as spark.task.maxFailures allows; see its last error.",
    ),
    (
        ErrorCode::StageRetriesExhausted,
        "Outputs were lost again and again. Look at the workers, then submit again.",
    ),
    (
        ErrorCode::NotDeterministic,
        "A task gave other bytes when it ran again. Make its code depend on its input only.",
    ),
    (
        ErrorCode::OutOfMemory,
        "Give more (--executor-memory, worker.memory), or use more and smaller partitions.",
    ),
    (ErrorCode::DiskFull, "Free room on the disk that the message names, then submit again."),
    (ErrorCode::NoWorkers, "Start a worker: `firesteel worker`, or `firesteel local`."),
    (ErrorCode::Killed, "Somebody ended it. The audit log of the master knows who."),
    (
        ErrorCode::VersionMismatch,
        "Both sides must be of the same version of Firesteel. Update the older one.",
    ),
    (
        ErrorCode::Unreachable,
        "Nothing answers there. Is it started, and is the address right? Try `firesteel doctor`.",
    ),
    (
        ErrorCode::BlockCorrupt,
        "A stored block did not match its checksum; it is computed again. Check the machine.",
    ),
    (ErrorCode::BlockMissing, "A stored block is gone with its worker; it is computed again."),
    (ErrorCode::GraphInvalid, "A front end made a job graph that breaks a rule."),
    (ErrorCode::Codec, "A value could not be encoded or decoded: mostly two versions that were mixed."),
    (
        ErrorCode::ConfigInvalid,
        "A setting is unknown or has a wrong value. `firesteel config keys` lists them all.",
    ),
    (ErrorCode::Io, "The machine failed at what the message names: a file, a socket or a process."),
    (ErrorCode::Internal, "A promise of Firesteel itself was broken."),
    (ErrorCode::QueueFull, "Too much is waiting. Submit later, or raise the limit that the message names."),
    (
        ErrorCode::TimedOut,
        "It ran longer than it may: raise --timeout or firesteel.task.timeout, or make it smaller.",
    ),
    (
        ErrorCode::WorkersExcluded,
        "Failures have left out every worker for a task. Look at the failures; workers come back after \
         spark.excludeOnFailure.timeout.",
    ),
    (ErrorCode::NotFinished, "The application has not ended. Wait with `firesteel status --wait APP`."),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_explained_and_found() {
        for code in ErrorCode::ALL {
            assert!(!remedy(*code).is_empty(), "{code}");
            assert_eq!(find(&code.as_str().to_lowercase()).unwrap(), *code);
        }
        assert_eq!(find("[NOT_FOUND]").unwrap(), ErrorCode::NotFound);
        assert!(find("BAD_ARGUMNET").unwrap_err().error.help.contains("BAD_ARGUMENT"));
    }
}
