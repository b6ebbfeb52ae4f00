//! From what a client of Spark asks for to what this master runs. Everything that cannot be honoured is
//! refused here, with the reason.

use super::CreateSubmission;
use crate::board::{Board, no_such_plugin};
use firesteel_common::http::SubmitRequest;
use firesteel_common::id::PluginHash;
use firesteel_common::options::KEYS;
use firesteel_common::plugin::Args;
use firesteel_common::{Error, ErrorCode};
use std::collections::BTreeMap;

/// What Spark's scripts always set, and what has no meaning.
const IGNORED_VARIABLES: &[&str] = &["SPARK_ENV_LOADED", "SPARK_HOME", "SPARK_SCALA_VERSION"];
/// Why a resource that is a path or an address is none.
const NO_PATHS: &str = "the master opens no path or address that a client names: upload the plugin with POST \
    /api/firesteel/v1/plugins?name=NAME, and give its hash or its name";
const ONE_OBJECT: &str = "a job is one shared object: link what it needs into it";
const NOT_SHIPPED: &str = "files are not shipped to executors: put them where every worker reads them, and \
    pass their absolute path as an argument";
const NO_JVM: &str = "there is no Java machine here";
const NO_KERBEROS: &str = "there is no Kerberos: who submits is known by the token";

/// Keys of Spark that mean nothing here, by their beginnings, and why.
const REFUSED: &[(&str, &str)] = &[
    ("spark.jars.packages", "there is no package repository: a job is one shared object that cargo builds"),
    ("spark.jars", ONE_OBJECT),
    ("spark.files", NOT_SHIPPED),
    ("spark.archives", NOT_SHIPPED),
    ("spark.submit.pyFiles", "Python is not run here: a job is a compiled shared object"),
    ("spark.driver.extraJavaOptions", NO_JVM),
    ("spark.executor.extraJavaOptions", NO_JVM),
    ("spark.driver.extraClassPath", NO_JVM),
    ("spark.executor.extraClassPath", NO_JVM),
    ("spark.executorEnv.", "executors have an empty environment: pass what they need as an argument"),
    ("spark.kerberos.", NO_KERBEROS),
    ("spark.yarn.", "this is not YARN"),
    ("spark.kubernetes.", "this is not Kubernetes"),
    ("spark.master.", "settings of the cluster are not those of a submission"),
    ("spark.dynamicAllocation.", "an application has one executor on each worker that runs its tasks"),
];

fn refused(what: impl std::fmt::Display, why: &str) -> Error {
    Error::new(ErrorCode::BadRequest, format!("{what} is not supported here: {why}"))
}

/// What is to be run.
///
/// # Errors
/// What cannot be honoured, each by its name.
pub(super) fn to_request(message: CreateSubmission, board: &Board) -> Result<SubmitRequest, Error> {
    let resource = message.app_resource.unwrap_or_default();
    for name in message.environment_variables.unwrap_or_default().keys() {
        if !IGNORED_VARIABLES.contains(&name.as_str()) {
            let why = "drivers and executors have an empty environment: pass what they need as an argument";
            return Err(refused(format_args!("the environment variable {name}"), why));
        }
    }
    let (name, conf) = properties(message.spark_properties.unwrap_or_default(), &resource)?;
    Ok(SubmitRequest {
        name,
        plugin: Some(plugin(&resource, board)?),
        entry: message.main_class.unwrap_or_default(),
        args: arguments(&message.app_args.unwrap_or_default())?,
        conf,
        ..SubmitRequest::default()
    })
}

/// The plugin of this hash or name.
fn plugin(resource: &str, board: &Board) -> Result<PluginHash, Error> {
    if resource.contains(['/', ':', '\\']) {
        return Err(refused(format_args!("the appResource '{resource}'"), NO_PATHS));
    }
    if let Ok(hash) = resource.parse() {
        return board.plugin(hash).map(|_| hash).ok_or_else(|| no_such_plugin(hash));
    }
    let named: Vec<PluginHash> = board
        .plugins()
        .into_iter()
        .filter(|plugin| plugin.name == resource)
        .map(|found| found.hash)
        .collect();
    match named.as_slice() {
        [] => Err(Error::new(ErrorCode::NotFound, format!("there is no plugin of the name '{resource}'"))
            .with_help(NO_PATHS)),
        [hash] => Ok(*hash),
        several => {
            let hashes: Vec<String> = several.iter().map(ToString::to_string).collect();
            Err(Error::new(ErrorCode::Conflict, format!("several plugins have the name '{resource}'"))
                .with_help(format!("give the hash of one: {}", hashes.join(", "))))
        }
    }
}

/// Arguments are named here.
fn arguments(texts: &[String]) -> Result<Args, Error> {
    let bad = |what: String| Error::new(ErrorCode::BadArgument, what);
    let mut args = Args::new();
    for text in texts {
        let Some((name, value)) = text.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            let what = format!("the argument '{text}' has no name");
            return Err(bad(what).with_help("arguments are named here: write NAME=VALUE"));
        };
        if args.insert(name.to_owned(), value.to_owned()).is_some() {
            return Err(bad(format!("the argument '{name}' is given twice")));
        }
    }
    Ok(args)
}

/// The name of the application, and what it sets.
fn properties(
    properties: BTreeMap<String, String>,
    resource: &str,
) -> Result<(String, BTreeMap<String, String>), Error> {
    let (mut name, mut conf) = (String::new(), BTreeMap::new());
    for (key, value) in properties {
        match (key.as_str(), value.as_str()) {
            ("spark.app.name", _) => name = value,
            // Whom it is sent to is this master, however it calls it.
            ("spark.master", _) | ("spark.submit.deployMode", "cluster") => {}
            ("spark.submit.deployMode", _) => {
                let what = format!("spark.submit.deployMode={value}");
                return Err(refused(what, "over this interface the driver runs in the cluster"));
            }
            ("spark.jars" | "spark.files" | "spark.archives" | "spark.submit.pyFiles", "") => {}
            // Spark's own client names the resource again.
            ("spark.jars", jars) if jars == resource => {}
            _ if KEYS.iter().any(|known| known.name == key) => {
                conf.insert(key, value);
            }
            _ => match REFUSED.iter().find(|(begin, _)| key.starts_with(begin)) {
                Some((_, why)) => return Err(refused(key, why)),
                // It is refused with the nearest key that there is.
                None => {
                    conf.insert(key, value);
                }
            },
        }
    }
    Ok((name, conf))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(key: &str, value: &str) -> Result<(String, BTreeMap<String, String>), Error> {
        properties(BTreeMap::from([(key.to_owned(), value.to_owned())]), "job.so")
    }

    #[test]
    fn properties_are_taken_ignored_or_refused_with_the_reason() {
        assert_eq!(given("spark.app.name", "mine").unwrap().0, "mine");
        let (_, conf) = given("spark.executor.memory", "1g").unwrap();
        assert_eq!(conf["spark.executor.memory"], "1g");
        for (key, value) in [
            ("spark.master", "spark://x:1"),
            ("spark.submit.deployMode", "cluster"),
            ("spark.jars", "job.so"),
        ] {
            assert!(given(key, value).unwrap().1.is_empty(), "{key}");
        }
        for (key, value, words) in [
            ("spark.submit.deployMode", "client", "runs in the cluster"),
            ("spark.jars", "file:/other.jar", "one shared object"),
            ("spark.jars.packages", "a:b:1", "no package repository"),
            ("spark.executorEnv.LD_PRELOAD", "/x.so", "empty environment"),
            ("spark.master.rest.enabled", "true", "settings of the cluster"),
        ] {
            let text = given(key, value).unwrap_err().to_string();
            assert!(text.contains(words) && text.contains(key), "{text}");
        }
    }

    #[test]
    fn arguments_have_names() {
        let found = arguments(&["a=1".to_owned(), "b=x=y".to_owned()]).unwrap();
        assert_eq!((found["a"].as_str(), found["b"].as_str()), ("1", "x=y"));
        for wrong in [vec!["1"], vec!["=1"], vec!["a=1", "a=2"]] {
            let wrong: Vec<String> = wrong.into_iter().map(str::to_owned).collect();
            assert_eq!(arguments(&wrong).unwrap_err().code, ErrorCode::BadArgument);
        }
    }
}
