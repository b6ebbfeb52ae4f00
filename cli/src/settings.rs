//! The configuration in its layers: defaults, then a file, then the environment, then flags.
//!
//! `config/default.toml` says which keys there are and of which type; nothing here names one.

use crate::failure::{Failure, Outcome};
use clap::Args;
use firesteel_common::config::{Config, DEFAULT_TOML};
use firesteel_common::error::{Error, ErrorCode, nearest};
use std::collections::BTreeMap;
use std::path::PathBuf;
use toml::{Table, Value};

/// Flags of every command that takes the configuration.
#[derive(Clone, Debug, Default, Args)]
pub struct SettingsArgs {
    /// A TOML file of settings, laid over the defaults
    #[arg(
        long,
        value_name = "FILE",
        env = "FIRESTEEL_CONFIG",
        hide_env_values = true,
        help_heading = "Configuration"
    )]
    pub config: Option<PathBuf>,
    /// One setting, such as worker.memory=512M or scheduler.heartbeat_ms=1s; wins over file and environment
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE", help_heading = "Configuration")]
    pub set: Vec<String>,
}

impl SettingsArgs {
    /// The configuration; `flags` are the command's own (`worker.cores` and its text), which win.
    pub fn load(&self, flags: &[(&str, Option<String>)]) -> Outcome<Config> {
        self.load_over(&[], flags)
    }

    /// The same, with defaults of the command's own (`worker.cores` and its text), which every layer
    /// overrides.
    pub fn load_over(
        &self,
        defaults: &[(&str, String)],
        flags: &[(&str, Option<String>)],
    ) -> Outcome<Config> {
        self.layers(defaults, flags)?.finish()
    }

    /// Every setting with its value and where that comes from, as `SECTION.KEY`, in the order of names.
    ///
    /// # Errors
    /// `CONFIG_INVALID`, as for a process that would start with them.
    pub fn describe(&self) -> Outcome<Vec<(String, String, String)>> {
        let layers = self.layers(&[], &[])?;
        let found = layers.describe();
        layers.finish()?;
        Ok(found)
    }

    fn layers(&self, defaults: &[(&str, String)], flags: &[(&str, Option<String>)]) -> Outcome<Layers> {
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        let file = match &self.config {
            Some(path) => Some((
                path.display().to_string(),
                std::fs::read_to_string(path).map_err(|cause| {
                    Failure::from(wrong(format!("the file {} cannot be read: {cause}", path.display())))
                })?,
            )),
            None => None,
        };
        let mut layers = Layers::defaults()?;
        for (key, value) in defaults {
            layers.flag(&format!("{key}={value}"), "the command")?;
        }
        if let Some((name, text)) = file {
            layers.file(&name, &text)?;
        }
        layers.environment(environment)?;
        for text in &self.set {
            layers.flag(text, "--set")?;
        }
        for (key, value) in flags {
            if let Some(value) = value {
                layers.flag(&format!("{key}={value}"), "flag")?;
            }
        }
        Ok(layers)
    }

    /// These flags again, for a child process.
    pub fn to_args(&self) -> Vec<String> {
        let file = self.config.iter().flat_map(|path| ["--config".into(), path.display().to_string()]);
        file.chain(self.set.iter().flat_map(|text| ["--set".into(), text.clone()])).collect()
    }
}

struct Layers {
    settings: Table,
    /// Where a value comes from, by `section.key`; what is not here is a default.
    origins: BTreeMap<String, String>,
}

fn wrong(message: String) -> Error {
    Error::new(ErrorCode::ConfigInvalid, message)
}

impl Layers {
    fn defaults() -> Outcome<Self> {
        let settings = toml::from_str(DEFAULT_TOML)
            .map_err(|cause| wrong(format!("the defaults are broken: {cause}")))?;
        Ok(Self { settings, origins: BTreeMap::new() })
    }

    fn file(&mut self, name: &str, text: &str) -> Outcome<()> {
        let table: Table = toml::from_str(text).map_err(|cause| wrong(format!("in {name}: {cause}")))?;
        for (section, keys) in table {
            let Value::Table(keys) = keys else {
                return Err(wrong(format!("in {name}: '{section}' must be a section like [worker]")).into());
            };
            for (key, value) in keys {
                self.put(&section, &key, value, name).map_err(|error| error.context(format!("in {name}")))?;
            }
        }
        Ok(())
    }

    /// Takes the variables that begin with the name of a section (`FIRESTEEL_WORKER_CORES`).
    fn environment(&mut self, variables: impl Iterator<Item = (String, String)>) -> Outcome<()> {
        let sections: Vec<String> = self.settings.keys().cloned().collect();
        for (name, value) in variables {
            let Some(rest) = name.strip_prefix("FIRESTEEL_") else { continue };
            let found = sections.iter().find_map(|section| {
                Some((section, rest.strip_prefix(&section.to_uppercase())?.strip_prefix('_')?))
            });
            if let Some((section, key)) = found {
                self.put(section, &key.to_lowercase(), Value::String(value), &name)
                    .map_err(|error| error.context(format!("in the environment variable {name}")))?;
            }
        }
        Ok(())
    }

    fn flag(&mut self, text: &str, origin: &str) -> Outcome<()> {
        let parts = text.split_once('=').and_then(|(name, value)| Some((name.split_once('.')?, value)));
        let Some(((section, key), value)) = parts else {
            return Err(wrong(format!("'{text}' is not of the form SECTION.KEY=VALUE")).into());
        };
        Ok(self.put(section, key, Value::String(value.to_owned()), origin)?)
    }

    fn put(&mut self, section: &str, key: &str, value: Value, origin: &str) -> Result<(), Error> {
        let unknown = |what: &str, known: Vec<&str>| {
            let help = match nearest(what.rsplit('.').next().unwrap_or(what), known.iter().copied()) {
                Some(near) => format!("did you mean '{near}'?"),
                None => format!("there are: {}", known.join(", ")),
            };
            wrong(format!("there is no setting '{what}'")).with_help(help)
        };
        if !self.settings.contains_key(section) {
            return Err(unknown(section, self.settings.keys().map(String::as_str).collect()));
        }
        let Some(Value::Table(keys)) = self.settings.get_mut(section) else {
            return Err(wrong(format!("'{section}' is not a section")));
        };
        let Some(place) = keys.get_mut(key) else {
            return Err(unknown(&format!("{section}.{key}"), keys.keys().map(String::as_str).collect()));
        };
        *place = coerce(key, place, value).map_err(|what| wrong(format!("{section}.{key}: {what}")))?;
        self.origins.insert(format!("{section}.{key}"), origin.to_owned());
        Ok(())
    }

    fn describe(&self) -> Vec<(String, String, String)> {
        let mut found = Vec::new();
        for (section, keys) in &self.settings {
            for (key, value) in keys.as_table().into_iter().flatten() {
                let name = format!("{section}.{key}");
                let origin = self.origins.get(&name).map_or("default", String::as_str).to_owned();
                found.push((name, text_of(value), origin));
            }
        }
        found
    }

    fn finish(self) -> Outcome<Config> {
        let config: Config = Value::Table(self.settings)
            .try_into()
            .map_err(|cause: toml::de::Error| wrong(cause.message().to_owned()))?;
        check(&config)?;
        Ok(config)
    }
}

/// Every setting of `config/default.toml` with its default and what its comment says.
pub fn documented() -> Vec<(String, String, String)> {
    let Ok(table) = toml::from_str::<Table>(DEFAULT_TOML) else { return Vec::new() };
    let (mut section, mut comment, mut found) = ("", Vec::new(), Vec::new());
    let mut doc = String::new();
    for line in DEFAULT_TOML.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix('#') {
            comment.push(text.trim());
        } else if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name;
            comment.clear();
        } else if let Some((key, _)) = line.split_once('=') {
            let key = key.trim();
            let value = table.get(section).and_then(|keys| keys.get(key)).map(text_of).unwrap_or_default();
            // Keys that stand together share the comment above them.
            if !comment.is_empty() {
                doc = std::mem::take(&mut comment).join(" ");
            }
            found.push((format!("{section}.{key}"), value, doc.clone()));
        } else {
            comment.clear();
        }
    }
    found
}

fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// What no type can say.
fn check(config: &Config) -> Result<(), Error> {
    let positive = [
        ("worker.cores", u64::from(config.worker.cores)),
        ("worker.max_drivers", u64::from(config.worker.max_drivers)),
        ("scheduler.heartbeat_ms", config.scheduler.heartbeat_ms),
        ("scheduler.task_failures_max", u64::from(config.scheduler.task_failures_max)),
        ("sql.partitions_per_slot", u64::from(config.sql.partitions_per_slot)),
    ];
    if let Some((name, _)) = positive.iter().find(|(_, value)| *value == 0) {
        return Err(wrong(format!("{name} must be at least 1")));
    }
    if config.scheduler.worker_timeout_ms <= config.scheduler.heartbeat_ms {
        return Err(wrong("scheduler.worker_timeout_ms must be longer than scheduler.heartbeat_ms".into())
            .with_help(
                "a worker that is heard of every heartbeat_ms would be given up between two of them",
            ));
    }
    Ok(())
}

/// `value` as the type that the default has.
fn coerce(key: &str, default: &Value, value: Value) -> Result<Value, String> {
    match (default, value) {
        (Value::Integer(_), Value::Integer(number)) if number >= 0 => Ok(Value::Integer(number)),
        (Value::Integer(_), Value::String(text)) => number(key, &text).map(Value::Integer),
        (Value::Boolean(_), Value::String(text)) => {
            text.parse().map(Value::Boolean).map_err(|_| format!("'{text}' is not true or false"))
        }
        (Value::String(_), Value::String(text)) => Ok(Value::String(text)),
        (Value::Array(_), Value::String(text)) => {
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            Ok(Value::Array(parts.map(|part| Value::String(part.to_owned())).collect()))
        }
        (Value::Array(_), Value::Array(list)) if list.iter().all(Value::is_str) => Ok(Value::Array(list)),
        (Value::Boolean(_), Value::Boolean(flag)) => Ok(Value::Boolean(flag)),
        (default, value) => Err(format!("{value} is not of type {}", default.type_str())),
    }
}

/// A whole number, with the units that belong to the key: `_ms` keys take `1s`, all others `256M`.
fn number(key: &str, text: &str) -> Result<i64, String> {
    let units: &[(&str, i64)] = if key.ends_with("_ms") {
        &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("", 1)]
    } else {
        &[("K", 1 << 10), ("M", 1 << 20), ("G", 1 << 30), ("T", 1 << 40), ("", 1)]
    };
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = text[digits.len()..].trim();
    let unit = unit.to_uppercase();
    let unit = unit.strip_suffix("IB").or(unit.strip_suffix('B')).unwrap_or(&unit);
    let factor = units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).map(|(_, factor)| *factor);
    factor.and_then(|factor| digits.parse::<i64>().ok()?.checked_mul(factor)).filter(|n| *n >= 0).ok_or_else(
        || {
            let example =
                if key.ends_with("_ms") { "1500, 1500ms or 2s" } else { "a whole number, or 256M, 4G" };
            format!("'{text}' is not a value for it (write {example})")
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(result: Outcome<()>) -> String {
        result.unwrap_err().error.to_string()
    }

    #[test]
    fn the_last_layer_wins() {
        let mut layers = Layers::defaults().unwrap();
        layers.file("f", "[worker]\ncores = 2\nmemory = \"256M\"\n[scheduler]\nheartbeat_ms = 100").unwrap();
        let variables = [
            ("FIRESTEEL_WORKER_CORES", "3"),
            ("FIRESTEEL_TOKEN", "x"),
            ("OTHER", "y"),
            ("FIRESTEEL_WORKERS", "9"),
        ];
        layers.environment(variables.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))).unwrap();
        layers.flag("worker.cores=4", "--set").unwrap();
        layers.flag("scheduler.heartbeat_ms=2s", "--set").unwrap();
        let config = layers.finish().unwrap();
        assert_eq!((config.worker.cores, config.worker.memory), (4, 256 << 20));
        assert_eq!(config.scheduler.heartbeat_ms, 2_000);
    }

    #[test]
    fn an_unknown_key_names_the_nearest_and_where_it_stands() {
        let mut layers = Layers::defaults().unwrap();
        let text = error(layers.flag("worker.coers=1", "--set"));
        assert!(text.contains("'worker.coers'") && text.contains("did you mean 'cores'?"), "{text}");
        let text = error(layers.file("my.toml", "[wroker]\ncores = 1"));
        assert!(text.contains("in my.toml") && text.contains("did you mean 'worker'?"), "{text}");
        let variable = [("FIRESTEEL_MASTER_HTPP".to_owned(), "x".to_owned())];
        let text = error(layers.environment(variable.into_iter()));
        assert!(text.contains("FIRESTEEL_MASTER_HTPP") && text.contains("'http'"), "{text}");
    }

    #[test]
    fn values_have_the_type_and_the_units_of_their_key() {
        assert_eq!(number("memory", "4G"), Ok(4 << 30));
        assert_eq!(number("memory", "4GiB"), Ok(4 << 30));
        assert_eq!(number("memory", "10 kb"), Ok(10 << 10));
        assert_eq!(number("heartbeat_ms", "1m"), Ok(60_000));
        for (key, text) in [("memory", "4X"), ("memory", "-1"), ("memory", ""), ("heartbeat_ms", "4G")] {
            assert!(number(key, text).is_err(), "{key} {text}");
        }
        assert!(number("memory", "9223372036854775807T").is_err());
        let mut layers = Layers::defaults().unwrap();
        assert!(error(layers.file("f", "[worker]\ncores = true")).contains("integer"));
        assert!(error(layers.flag("worker", "--set")).contains("SECTION.KEY=VALUE"));
    }

    #[test]
    fn what_cannot_work_is_refused() {
        for text in ["worker.cores=0", "scheduler.heartbeat_ms=1h", "shuffle.same_host=udp"] {
            let mut layers = Layers::defaults().unwrap();
            layers.flag(text, "--set").unwrap();
            assert!(layers.finish().is_err(), "{text}");
        }
    }

    #[test]
    fn every_value_says_where_it_comes_from() {
        let mut layers = Layers::defaults().unwrap();
        layers.file("my.toml", "[worker]\ncores = 2\nmemory = \"256M\"").unwrap();
        layers.environment([("FIRESTEEL_WORKER_CORES".to_owned(), "3".to_owned())].into_iter()).unwrap();
        layers.flag("worker.max_drivers=7", "--set").unwrap();
        let found = layers.describe();
        let of = |key: &str| found.iter().find(|row| row.0 == key).map(|row| (&*row.1, &*row.2)).unwrap();
        assert_eq!(of("worker.cores"), ("3", "FIRESTEEL_WORKER_CORES"));
        assert_eq!(of("worker.memory"), ("268435456", "my.toml"));
        assert_eq!(of("worker.max_drivers"), ("7", "--set"));
        assert_eq!(of("shuffle.same_host"), ("map", "default"));
    }

    #[test]
    fn every_setting_is_documented_in_the_reference() {
        let documented = documented();
        let all = Layers::defaults().unwrap().describe();
        assert_eq!(documented.len(), all.len());
        for (key, _, doc) in documented {
            assert!(doc.ends_with('.') && doc.len() > 8, "{key}: '{doc}'");
        }
    }

    #[test]
    fn what_a_command_has_for_a_default_is_overridden_by_every_layer() {
        let mut layers = Layers::defaults().unwrap();
        layers.flag("worker.cores=9", "the command").unwrap();
        layers.file("my.toml", "[worker]\ncores = 2").unwrap();
        assert_eq!(layers.finish().unwrap().worker.cores, 2);
    }
}
