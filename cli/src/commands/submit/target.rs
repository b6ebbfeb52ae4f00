//! What `--master` means: a master's address, a temporary cluster on this machine, or something that this
//! version does not have.

use crate::failure::{Failure, Outcome};

/// Where to submit to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A master's HTTP daemon.
    Address(String),
    /// A cluster that lives as long as the command.
    Temporary(Temporary),
}

/// A cluster that lives as long as the command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Temporary {
    /// Worker processes.
    pub workers: u32,
    /// Slots of each; `None` for all of the machine.
    pub cores: Option<u32>,
    /// The budget of each block store, in MiB.
    pub memory_mib: Option<u64>,
    /// How often a task may fail, if that is said.
    pub task_failures: Option<u32>,
}

const FORMS: &str = "write http://HOST:PORT, spark://HOST:PORT, local, local[N], local[N,FAILURES] or \
                     local-cluster[WORKERS,CORES,MEMORY_MIB]";

/// The most workers of a temporary cluster.
const WORKERS_MAX: u32 = 64;

/// Reads the text of `--master`.
///
/// # Errors
/// Misuse, naming what is not supported or not understood.
pub fn parse(text: &str) -> Outcome<Target> {
    let wrong = || Failure::usage(format!("'{text}' is not a master")).with_help(FORMS);
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    match scheme {
        "spark" if rest.contains(',') => Err(Failure::usage("one master is spoken to, not several")
            .with_help("name the one that runs: there are no standby masters in this version")),
        "spark" if rest.is_empty() => Err(wrong()),
        "k8s" | "mesos" => Err(unsupported(scheme)),
        "sc" => Err(Failure::usage("Spark Connect is not supported in this version")
            .with_help("give the address of the master's HTTP daemon")),
        "" => local(text, wrong),
        _ => Ok(Target::Address(text.to_owned())),
    }
}

fn unsupported(what: &str) -> Failure {
    Failure::usage(format!("{what} is not supported: Firesteel has a cluster manager of its own"))
        .with_help(FORMS)
}

fn local(text: &str, wrong: impl Fn() -> Failure) -> Outcome<Target> {
    let (name, inner) = match text.split_once('[') {
        None => (text, None),
        Some((name, inner)) => (name, Some(inner.strip_suffix(']').ok_or_else(&wrong)?)),
    };
    let parts: Vec<&str> = inner.map(|inner| inner.split(',').map(str::trim).collect()).unwrap_or_default();
    let positive = |part: &str| part.parse::<u32>().ok().filter(|n| *n > 0).ok_or_else(&wrong);
    let cores = |part: &str| if part == "*" { Ok(None) } else { positive(part).map(Some) };
    let one = Temporary { workers: 1, cores: Some(1), memory_mib: None, task_failures: None };
    let cluster = match (name, parts.as_slice()) {
        ("yarn" | "yarn-client" | "yarn-cluster", []) => return Err(unsupported("yarn")),
        ("local", []) => one,
        ("local", [n]) => Temporary { cores: cores(n)?, ..one },
        ("local", [n, failures]) => {
            Temporary { cores: cores(n)?, task_failures: Some(positive(failures)?), ..one }
        }
        ("local-cluster", [workers, cores, mib]) => Temporary {
            workers: positive(workers)?,
            cores: Some(positive(cores)?),
            memory_mib: Some(u64::from(positive(mib)?)),
            ..one
        },
        _ if inner.is_none() && text.contains(':') => return Ok(Target::Address(text.to_owned())),
        _ => return Err(wrong()),
    };
    if cluster.workers > WORKERS_MAX {
        return Err(Failure::usage(format!("a temporary cluster has at most {WORKERS_MAX} workers")));
    }
    Ok(Target::Temporary(cluster))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn temporary(
        workers: u32,
        cores: Option<u32>,
        memory_mib: Option<u64>,
        task_failures: Option<u32>,
    ) -> Target {
        Target::Temporary(Temporary { workers, cores, memory_mib, task_failures })
    }

    #[test]
    fn every_form_of_a_master_is_understood() {
        let address = |text: &str| Target::Address(text.to_owned());
        for (text, expected) in [
            ("spark://h:7077", address("spark://h:7077")),
            ("http://h:1", address("http://h:1")),
            ("https://h:1", address("https://h:1")),
            ("h:1", address("h:1")),
            ("local", temporary(1, Some(1), None, None)),
            ("local[*]", temporary(1, None, None, None)),
            ("local[3]", temporary(1, Some(3), None, None)),
            ("local[3,2]", temporary(1, Some(3), None, Some(2))),
            ("local-cluster[2,1,512]", temporary(2, Some(1), Some(512), None)),
        ] {
            assert_eq!(parse(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_not_supported_is_named() {
        for (text, word) in [
            ("yarn", "yarn is not supported"),
            ("k8s://https://h:1", "k8s is not supported"),
            ("mesos://h:1", "mesos is not supported"),
            ("sc://h:1", "Spark Connect"),
            ("spark://a:1,b:1", "not several"),
            ("spark://", "is not a master"),
            ("local[0]", "is not a master"),
            ("local[", "is not a master"),
            ("local-cluster[1]", "is not a master"),
            ("local-cluster[999,1,1]", "at most 64"),
            ("nonsense", "is not a master"),
        ] {
            let message = parse(text).unwrap_err().error.message;
            assert!(message.contains(word), "{text}: {message}");
        }
    }
}
