//! spark-submit's flags, under its names: those that work become keys of the configuration, those that mean
//! nothing here are refused or warned about with the reason.

use super::conf;
use crate::failure::{Failure, Outcome};
use clap::Args;
use std::path::PathBuf;

/// Keys and values.
type Pairs = Vec<(String, String)>;

/// The flags.
#[derive(Clone, Debug, Default, Args)]
pub struct SparkArgs {
    /// One setting of the application (`firesteel config keys` lists them)
    #[arg(short = 'c', long = "conf", value_name = "KEY=VALUE", help_heading = "Resources and settings")]
    pub conf: Vec<String>,
    /// A file of settings, read instead of spark-defaults.conf
    #[arg(long, value_name = "FILE", help_heading = "Resources and settings")]
    pub properties_file: Option<PathBuf>,
    /// Read spark-defaults.conf also when a properties file is given
    #[arg(long, help_heading = "Resources and settings")]
    pub load_spark_defaults: bool,
    /// Take an unknown setting for an error, not for a warning
    #[arg(long, help_heading = "Resources and settings")]
    pub strict: bool,
    /// Memory of the driver, such as 1g (cluster mode)
    #[arg(long, value_name = "BYTES", help_heading = "Resources and settings")]
    driver_memory: Option<String>,
    /// Cores of the driver (cluster mode)
    #[arg(long, value_name = "N", help_heading = "Resources and settings")]
    driver_cores: Option<u32>,
    /// Memory of each executor, such as 2g
    #[arg(long, value_name = "BYTES", help_heading = "Resources and settings")]
    executor_memory: Option<String>,
    /// Task slots of each executor
    #[arg(long, value_name = "N", help_heading = "Resources and settings")]
    executor_cores: Option<u32>,
    /// Task slots in the whole cluster
    #[arg(long, value_name = "N", help_heading = "Resources and settings")]
    total_executor_cores: Option<u32>,
    /// Together with --executor-cores: task slots in the whole cluster
    #[arg(long, value_name = "N", help_heading = "Resources and settings")]
    num_executors: Option<u32>,
    /// The scheduler pool
    #[arg(long, value_name = "POOL", help_heading = "Resources and settings")]
    queue: Option<String>,
    /// Start the driver again when it dies (cluster mode)
    #[arg(long, help_heading = "Resources and settings")]
    supervise: bool,
    /// End the application after this time, such as 10min (exit code 124)
    #[arg(long, value_name = "TIME", help_heading = "Resources and settings")]
    timeout: Option<String>,
    #[command(flatten)]
    foreign: ForeignArgs,
}

/// Flags that a spark-submit user may write and that mean nothing here. They are not shown in the help.
#[derive(Clone, Debug, Default, Args)]
struct ForeignArgs {
    #[arg(long, hide = true, alias = "libs")]
    jars: Option<String>,
    #[arg(long, hide = true)]
    packages: Option<String>,
    #[arg(long, hide = true)]
    exclude_packages: Option<String>,
    #[arg(long, hide = true)]
    repositories: Option<String>,
    #[arg(long, hide = true)]
    py_files: Option<String>,
    #[arg(long, hide = true)]
    files: Option<String>,
    #[arg(long, hide = true)]
    archives: Option<String>,
    #[arg(long, hide = true)]
    proxy_user: Option<String>,
    #[arg(long, hide = true)]
    principal: Option<String>,
    #[arg(long, hide = true)]
    keytab: Option<String>,
    #[arg(long, hide = true)]
    remote: Option<String>,
    #[arg(long, hide = true, allow_hyphen_values = true)]
    driver_java_options: Option<String>,
    #[arg(long, hide = true)]
    driver_class_path: Option<String>,
    #[arg(long, hide = true)]
    driver_library_path: Option<String>,
}

impl ForeignArgs {
    /// The first flag that cannot be honoured, and why.
    fn refused(&self) -> Option<(&'static str, &'static str)> {
        const MAVEN: &str = "there is no package repository: a job is one shared object that cargo builds";
        const SHIPPED: &str = "files are not shipped to executors in this version: put them where every \
                               worker reads them, and pass their absolute path as an argument";
        const KERBEROS: &str = "there is no Kerberos: who submits is known by the token (--token-file)";
        let table = [
            (&self.jars, "--jars", "a job is one shared object: link what it needs into it"),
            (&self.packages, "--packages", MAVEN),
            (&self.exclude_packages, "--exclude-packages", MAVEN),
            (&self.repositories, "--repositories", MAVEN),
            (&self.py_files, "--py-files", "Python is not run here: a job is a compiled shared object"),
            (&self.files, "--files", SHIPPED),
            (&self.archives, "--archives", SHIPPED),
            (&self.proxy_user, "--proxy-user", "an application belongs to the token that submits it"),
            (&self.principal, "--principal", KERBEROS),
            (&self.keytab, "--keytab", KERBEROS),
            (&self.remote, "--remote", "Spark Connect is not supported in this version"),
        ];
        table.into_iter().find(|(given, ..)| given.is_some()).map(|(_, flag, why)| (flag, why))
    }

    /// The flags that are ignored, and why.
    fn ignored(&self) -> Vec<String> {
        let table = [
            (&self.driver_java_options, "--driver-java-options", "there is no Java machine here"),
            (&self.driver_class_path, "--driver-class-path", "there is no class path here"),
            (&self.driver_library_path, "--driver-library-path", "a plugin has its libraries linked in"),
        ];
        let given = table.into_iter().filter(|(given, ..)| given.is_some());
        given.map(|(_, flag, why)| format!("{flag} is ignored: {why}")).collect()
    }
}

impl SparkArgs {
    /// What the named flags set, and what there is to say about the others.
    ///
    /// # Errors
    /// Misuse, for a flag that cannot be honoured.
    fn pairs(&self) -> Outcome<(Pairs, Vec<String>)> {
        if let Some((flag, why)) = self.foreign.refused() {
            return Err(Failure::usage(format!("{flag} is not supported: {why}")));
        }
        let mut warnings = self.foreign.ignored();
        let text = |number: Option<u32>| number.map(|number| number.to_string());
        let total = match (self.total_executor_cores, self.num_executors, self.executor_cores) {
            (Some(total), _, _) => Some(total),
            (None, Some(executors), Some(cores)) => executors.checked_mul(cores),
            (None, Some(_), None) => {
                warnings.push(
                    "--num-executors is ignored without --executor-cores: an application has one executor \
                     on each worker, and only its task slots are bounded"
                        .to_owned(),
                );
                None
            }
            (None, None, _) => None,
        };
        let table = [
            ("spark.driver.memory", self.driver_memory.clone()),
            ("spark.driver.cores", text(self.driver_cores)),
            ("spark.driver.supervise", self.supervise.then(|| "true".to_owned())),
            ("spark.executor.memory", self.executor_memory.clone()),
            ("spark.executor.cores", text(self.executor_cores)),
            ("spark.cores.max", text(total)),
            ("spark.scheduler.pool", self.queue.clone()),
            ("firesteel.app.timeout", self.timeout.clone()),
        ];
        let pairs = table.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
        Ok((pairs.collect(), warnings))
    }

    /// All layers of the configuration, the weakest first. `task_failures` is what `local[N,F]` says.
    ///
    /// # Errors
    /// Misuse, for a file that cannot be read or a flag that cannot be honoured.
    pub fn effective(&self, name: Option<&str>, task_failures: Option<u32>) -> Outcome<conf::Effective> {
        let mut layers = Vec::new();
        if self.properties_file.is_none() || self.load_spark_defaults {
            layers.extend(super::files::spark_defaults()?);
        }
        if let Some(path) = &self.properties_file {
            layers.push(super::files::properties(path)?);
        }
        let environment = conf::from_environment(|name| std::env::var(name).ok());
        layers.push(conf::Layer::new("environment", environment));
        layers.push(conf::Layer::new("--conf", conf::from_flags(&self.conf)?));
        let (mut pairs, warnings) = self.pairs()?;
        pairs.extend(task_failures.map(|times| ("spark.task.maxFailures".to_owned(), times.to_string())));
        pairs.extend(name.map(|name| (conf::NAME.to_owned(), name.to_owned())));
        layers.push(conf::Layer::new("flag", pairs));
        let mut found = conf::Effective::of(layers, self.strict)?;
        found.warnings.extend(warnings);
        Ok(found)
    }
}
