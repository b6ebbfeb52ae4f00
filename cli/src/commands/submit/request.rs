//! A submission made from flags, and sent: the plugin travels only if the master does not have it yet.

use super::{Plan, SubmitArgs, conf};
use crate::client::Client;
use crate::failure::{Exit, Failure, Outcome};
use firesteel_common::error::{Error, ErrorCode};
use firesteel_common::http::{PluginInfo, SubmitRequest, SubmitResponse};
use firesteel_common::id::PluginHash;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// How an argument of an entry point is written.
const ARGUMENT: &str = "ARG=VALUE";

/// A plugin as it was read from its file.
pub struct Plugin {
    /// The file, with an absolute path.
    pub path: PathBuf,
    /// Its content hash.
    pub hash: PluginHash,
    bytes: Vec<u8>,
}

/// What to submit.
pub fn build(args: &SubmitArgs, plan: &Plan) -> Outcome<(SubmitRequest, Option<Plugin>)> {
    let plugin = args.plugin.as_deref().map(read_plugin).transpose()?;
    let request = SubmitRequest {
        name: plan.conf.get(conf::NAME).unwrap_or_default().to_owned(),
        plugin: plugin.as_ref().map(|plugin| plugin.hash),
        entry: args.entry.clone().unwrap_or_default(),
        args: pairs(&args.args, ARGUMENT)?,
        sql: args.sql.as_deref().map(read_sql).transpose()?,
        tables: tables(&args.table)?,
        conf: plan.conf.conf(),
        tags: pairs(&args.tag, "--tag KEY=VALUE")?,
        deploy_mode: plan.deploy.into(),
        idempotency_key: args.idempotency_key.as_deref().map(key).transpose()?,
    };
    Ok((request, plugin))
}

/// The longest idempotency key, in characters.
const KEY_LEN_MAX: usize = 64;

fn key(text: &str) -> Outcome<String> {
    let len = text.chars().count();
    if len == 0 || len > KEY_LEN_MAX {
        let message = format!("an idempotency key has 1 to {KEY_LEN_MAX} characters, this one has {len}");
        return Err(Failure::usage(message));
    }
    Ok(text.to_owned())
}

/// Sends it; uploads the plugin when the master says that it does not know it.
///
/// Between two requests it looks whether it `is_cancelled`.
pub fn send(
    client: &Client,
    request: &SubmitRequest,
    plugin: Option<&Plugin>,
    is_cancelled: &AtomicBool,
) -> Outcome<SubmitResponse> {
    let first: Outcome<SubmitResponse> = client.post("/applications", request);
    match (first, plugin) {
        (Err(failure), Some(plugin)) if is_unknown(&failure) => {
            let stored: PluginInfo = client.post_bytes("/plugins", &plugin.bytes)?;
            if stored.hash != plugin.hash {
                let message = "the master stored the plugin under another hash than that of its content";
                return Err(Error::new(ErrorCode::Internal, message).into());
            }
            if is_cancelled.load(Ordering::Relaxed) {
                return Err(Error::new(ErrorCode::Killed, "stopped before anything was submitted").into());
            }
            client.post("/applications", request)
        }
        (answer, _) => answer,
    }
}

fn is_unknown(failure: &Failure) -> bool {
    failure.exit == Exit::Refused && failure.error.code == ErrorCode::NotFound
}

/// A longer file is not even read. (What a master takes is its setting `master.plugin_bytes_max`.)
const PLUGIN_BYTES_MAX: u64 = 4 << 30;

fn read_plugin(path: &Path) -> Outcome<Plugin> {
    let unreadable = |cause: std::io::Error| {
        Failure::usage(format!("the plugin {} cannot be read: {cause}", path.display())).with_help(
            "build the job with `cargo build --release`; its .so lies in the target directory under release/",
        )
    };
    let about = std::fs::metadata(path).map_err(unreadable)?;
    if !about.is_file() {
        return Err(Failure::usage(format!("{} is not a file", path.display())));
    }
    if about.len() > PLUGIN_BYTES_MAX {
        let message = format!(
            "{} has {} bytes; no plugin is longer than {PLUGIN_BYTES_MAX}",
            path.display(),
            about.len()
        );
        return Err(
            Failure::usage(message).with_help("build it in release mode, and without debug information")
        );
    }
    let bytes = std::fs::read(path).map_err(unreadable)?;
    let path = std::fs::canonicalize(path).map_err(unreadable)?;
    Ok(Plugin { path, hash: PluginHash(Sha256::digest(&bytes).into()), bytes })
}

fn read_sql(path: &Path) -> Outcome<String> {
    let text = if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(path)
    };
    text.map_err(|cause| Failure::usage(format!("the SQL text {} cannot be read: {cause}", path.display())))
}

/// Tables by name, with absolute paths, since a worker opens them.
fn tables(texts: &[String]) -> Outcome<BTreeMap<String, String>> {
    let mut tables = pairs(texts, "--table NAME=PATH")?;
    for path in tables.values_mut() {
        *path = std::path::absolute(&*path)
            .map_err(|cause| Failure::usage(format!("'{path}' is not a path: {cause}")))?
            .display()
            .to_string();
    }
    Ok(tables)
}

fn pairs(texts: &[String], form: &str) -> Outcome<BTreeMap<String, String>> {
    let mut pairs = BTreeMap::new();
    for text in texts {
        let Some((name, value)) = text.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            let failure = Failure::usage(format!("'{text}' is not of the form {form}"));
            return Err(match form {
                ARGUMENT => {
                    failure.with_help("the entry point is named with --entry NAME, its arguments by name")
                }
                _ => failure,
            });
        };
        if pairs.insert(name.to_owned(), value.to_owned()).is_some() {
            return Err(Failure::usage(format!("'{name}' is given twice")));
        }
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_split_at_their_first_equals_sign() {
        let found = pairs(&["a=1".into(), "b=x=y".into(), "c=".into()], "A=B").unwrap();
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [("a", "1"), ("b", "x=y"), ("c", "")].map(owned));
    }

    fn owned((a, b): (&str, &str)) -> (String, String) {
        (a.to_owned(), b.to_owned())
    }

    #[test]
    fn an_argument_without_a_name_or_given_twice_is_misuse() {
        for texts in [vec!["top"], vec!["=1"], vec!["a=1", "a=2"]] {
            let texts: Vec<String> = texts.into_iter().map(str::to_owned).collect();
            assert_eq!(pairs(&texts, ARGUMENT).unwrap_err().exit, Exit::Usage);
        }
    }

    #[test]
    fn tables_get_absolute_paths() {
        let found = tables(&["t=x.parquet".into()]).unwrap();
        assert!(Path::new(&found["t"]).is_absolute());
    }
}
