//! How a submission is configured: layers of keys, the later ones over the earlier ones, each value with
//! where it came from. Pure: reading files and the environment is the caller's work.

use crate::failure::{Failure, Outcome};
use firesteel_common::error::nearest;
use firesteel_common::options::{AppOptions, KEYS};
use std::collections::BTreeMap;

/// Keys of Spark's that `firesteel submit` understands itself; the master never sees them.
pub const MASTER: &str = "spark.master";
/// The application's name.
pub const NAME: &str = "spark.app.name";
/// Where the driver runs.
pub const DEPLOY_MODE: &str = "spark.submit.deployMode";
const OWN: [&str; 3] = [MASTER, NAME, DEPLOY_MODE];

/// One layer: where it comes from, and what it sets.
pub struct Layer {
    /// In words, for `--verbose` and for messages.
    pub origin: String,
    /// Keys and values, in their order.
    pub pairs: Vec<(String, String)>,
}

impl Layer {
    /// A layer.
    pub fn new(origin: impl Into<String>, pairs: Vec<(String, String)>) -> Self {
        Self { origin: origin.into(), pairs }
    }
}

/// What came of the layers.
#[derive(Debug, Default, PartialEq)]
pub struct Effective {
    /// Value and origin by key.
    values: BTreeMap<String, (String, String)>,
    /// What was left out, and why.
    pub warnings: Vec<String>,
}

impl Effective {
    /// Lays the layers over each other, the first at the bottom.
    ///
    /// # Errors
    /// Misuse, for an unknown key if `strict`; `CONFIG_INVALID` for a value that does not fit.
    pub fn of(layers: Vec<Layer>, strict: bool) -> Outcome<Self> {
        let mut found = Self::default();
        for layer in layers {
            for (key, value) in layer.pairs {
                if is_known(&key) {
                    found.values.insert(key, (value, layer.origin.clone()));
                    continue;
                }
                let warning = unknown(&key, &layer.origin);
                if strict {
                    return Err(Failure::usage(warning).with_help("leave out --strict to ignore it"));
                }
                found.warnings.push(warning);
            }
        }
        let conf = found.conf();
        AppOptions::from_conf(&conf).map_err(|error| {
            let origin = conf.keys().find(|key| error.message.starts_with(&format!("{key}:")));
            let origin = origin.and_then(|key| found.values.get(key)).map(|(_, origin)| origin.as_str());
            error.context(origin.unwrap_or("configuration"))
        })?;
        Ok(found)
    }

    /// What the master is told.
    pub fn conf(&self) -> BTreeMap<String, String> {
        let is_for_master = |key: &str| !OWN.contains(&key);
        let pairs = self.values.iter().filter(|(key, _)| is_for_master(key));
        pairs.map(|(key, (value, _))| (key.clone(), value.clone())).collect()
    }

    /// The value of one key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(|(value, _)| value.as_str())
    }

    /// Every key that can be set, with its value and where that comes from; what looks like a secret is not
    /// shown.
    pub fn describe(&self) -> Vec<[String; 3]> {
        let defaults = KEYS.iter().map(|key| (key.name, key.default));
        let mut all: BTreeMap<&str, (&str, &str)> =
            defaults.map(|(key, value)| (key, (value, "default"))).collect();
        for (key, (value, origin)) in &self.values {
            all.insert(key, (value, origin));
        }
        let row = |(key, (value, origin)): (&str, (&str, &str))| {
            let value = if is_secret(key) { "(redacted)" } else { value };
            [key.to_owned(), value.to_owned(), origin.to_owned()]
        };
        all.into_iter().map(row).collect()
    }
}

fn is_known(key: &str) -> bool {
    OWN.contains(&key) || KEYS.iter().any(|known| known.name == key)
}

fn unknown(key: &str, origin: &str) -> String {
    let near = nearest(key, KEYS.iter().map(|known| known.name).chain(OWN));
    let near = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
    format!("{key} ({origin}) is not a setting of a submission here, and is ignored{near}")
}

/// Whether a key's value is never to be shown.
pub fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    ["secret", "password", "token", "accesskey", "access.key", "credential"]
        .iter()
        .any(|word| key.contains(word))
}

/// The name of the environment variable that sets a key: `FIRESTEEL_SPARK_EXECUTOR_MEMORY`, and
/// `FIRESTEEL_APP_TIMEOUT` for a key of Firesteel's own.
pub fn variable(key: &str) -> String {
    let key = key.strip_prefix("firesteel.").unwrap_or(key);
    format!("FIRESTEEL_{}", key.replace('.', "_").to_ascii_uppercase())
}

/// The pairs that the environment sets.
pub fn from_environment(variable_of: impl Fn(&str) -> Option<String>) -> Vec<(String, String)> {
    let key = |known: &'static str| Some((known.to_owned(), variable_of(&variable(known))?));
    KEYS.iter().map(|known| known.name).chain([NAME, DEPLOY_MODE]).filter_map(key).collect()
}

/// What `--conf` was given.
///
/// # Errors
/// Misuse, for a text that is no `KEY=VALUE`.
pub fn from_flags(texts: &[String]) -> Outcome<Vec<(String, String)>> {
    let pair = |text: &String| {
        let pair = text.split_once('=').filter(|(key, _)| !key.trim().is_empty());
        let pair =
            pair.ok_or_else(|| Failure::usage(format!("--conf '{text}' is not of the form KEY=VALUE")))?;
        Ok((pair.0.trim().to_owned(), pair.1.to_owned()))
    };
    texts.iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Exit;

    fn layer(origin: &str, pairs: &[(&str, &str)]) -> Layer {
        Layer::new(origin, pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect())
    }

    #[test]
    fn the_later_layer_wins_and_says_where_it_is_from() {
        let (memory, cores) = ("spark.executor.memory", "spark.executor.cores");
        let layers = vec![
            layer("spark-defaults.conf", &[(memory, "1g"), (cores, "1"), (NAME, "a")]),
            layer("environment", &[(memory, "2g")]),
            layer("--conf", &[(memory, "3g")]),
        ];
        let found = Effective::of(layers, true).unwrap();
        assert_eq!((found.get(memory), found.get(cores)), (Some("3g"), Some("1")));
        assert!(!found.conf().contains_key(NAME));
        let rows = found.describe();
        let row = |key: &str| rows.iter().find(|row| row[0] == key).unwrap()[2].clone();
        assert_eq!((row(memory).as_str(), row(cores).as_str()), ("--conf", "spark-defaults.conf"));
        assert_eq!(row("spark.speculation"), "default");
    }

    #[test]
    fn an_unknown_key_is_a_warning_or_with_strict_an_error() {
        let layers = || vec![layer("my.conf", &[("spark.executor.memroy", "1g")])];
        let found = Effective::of(layers(), false).unwrap();
        assert!(found.warnings[0].contains("did you mean spark.executor.memory?"), "{:?}", found.warnings);
        assert!(found.warnings[0].contains("my.conf") && found.conf().is_empty());
        assert_eq!(Effective::of(layers(), true).unwrap_err().exit, Exit::Usage);
    }

    #[test]
    fn a_wrong_value_names_its_origin() {
        let layers = vec![layer("my.conf", &[("spark.executor.memory", "lots")])];
        let failure = Effective::of(layers, false).unwrap_err();
        assert!(failure.error.message.contains("my.conf"), "{}", failure.error);
        assert_eq!(failure.exit, Exit::Usage);
    }

    #[test]
    fn secrets_and_variables_are_known_by_their_names() {
        for key in ["a.SECRET.b", "x.password", "s3.access.key", "s3.accessKey", "my.Token", "credentials"] {
            assert!(is_secret(key), "{key}");
        }
        assert!(!is_secret("spark.executor.memory"));
        let found = from_environment(|name| (name == "FIRESTEEL_APP_TIMEOUT").then(|| "3s".to_owned()));
        assert_eq!(found, [("firesteel.app.timeout".to_owned(), "3s".to_owned())]);
        assert_eq!(variable("spark.executor.memory"), "FIRESTEEL_SPARK_EXECUTOR_MEMORY");
        assert!(from_flags(&["a".to_owned()]).is_err() && from_flags(&["=a".to_owned()]).is_err());
    }
}
