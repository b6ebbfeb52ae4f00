//! `firesteel submit`: hands an application to the cluster, shows what it prints and how far it is, and
//! prints its result.

mod client_driver;
mod cluster;
mod conf;
mod dry_run;
mod files;
mod follow;
mod progress;
mod properties;
mod question;
mod request;
mod screen;
mod send;
mod spark;
mod target;

pub use conf::is_secret;

use super::ListFormat;
use super::result::OutputArgs;
use crate::client::{Client, ConnectArgs};
use crate::failure::{Exit, Failure, Outcome};
use crate::print;
use crate::settings::SettingsArgs;
use crate::signals::{self, Stop};
use clap::{Args, ValueEnum};
use crossbeam::channel::{Receiver, RecvTimeoutError, bounded, never};
use crossbeam::select;
use firesteel_common::error::{Error, ErrorCode};
use firesteel_common::http::{DeployMode, SubmitRequest};
use firesteel_common::id::AppId;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How long the outcome may take to be known once the driver of client mode has ended.
const AFTER_DRIVER: Duration = Duration::from_secs(5);

/// Runs an entry point of a compiled job, or a SQL text, on the cluster
///
/// The plugin is uploaded once; it is known by its content afterwards. What the
/// driver and the tasks print, and how far the work is, appear on standard error;
/// the result goes to standard output. Ctrl-C on a terminal asks whether to detach,
/// kill or continue; elsewhere it kills the application.
///
/// Paths in arguments are opened by the workers: give absolute ones. Settings come
/// from spark-defaults.conf, --properties-file, the environment, --conf and flags of
/// their own, each over those before it.
#[derive(Debug, Args)]
#[command(
    verbatim_doc_comment,
    override_usage = "firesteel submit [OPTIONS] <PLUGIN.so> [ARG=VALUE]...\n       \
                      firesteel submit [OPTIONS] --sql <FILE> [--table <NAME=PATH>]...",
    after_help = "\
Examples:
  firesteel submit libwordcount.so --entry wordcount input=/data/books top=20
  firesteel submit --sql q.sql --table lineitem=/data/lineitem.parquet --format csv
  app=$(firesteel submit --no-wait job.so) && firesteel result \"$app\""
)]
pub struct SubmitArgs {
    /// The compiled job: a shared object
    #[arg(
        value_name = "PLUGIN.so",
        required_unless_present_any = ["sql", "status", "kill"],
        conflicts_with = "sql"
    )]
    plugin: Option<PathBuf>,
    /// Arguments of the entry point, by name
    #[arg(value_name = "ARG=VALUE", conflicts_with = "sql")]
    args: Vec<String>,
    /// The entry point; may be left out if the plugin has only one
    #[arg(long, visible_alias = "class", value_name = "NAME", conflicts_with = "sql")]
    entry: Option<String>,
    /// Run the SQL text of this file instead of a plugin (- for standard input)
    #[arg(long, value_name = "FILE")]
    sql: Option<PathBuf>,
    /// A table of the SQL text: a Parquet file or a directory of such
    #[arg(long, value_name = "NAME=PATH", requires = "sql", num_args = 1..)]
    table: Vec<String>,
    /// Where the driver runs: on a worker (the default), or beside this command
    #[arg(long, value_enum)]
    deploy_mode: Option<Deploy>,
    /// A name for lists
    #[arg(long)]
    name: Option<String>,
    /// A second submission under this key (at most 64 characters) is the first one
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// A name and a value for finding it again; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    tag: Vec<String>,
    /// Submit it again when it fails, at most this often (not when it was killed)
    #[arg(long, value_name = "N", default_value_t = 0)]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=100))]
    max_retries: u32,
    /// Check everything on this machine, print what would be submitted, and submit nothing
    #[arg(long)]
    dry_run: bool,
    /// Show the status of an application, as `firesteel status` does, and submit nothing
    #[arg(long, value_name = "APPLICATION", conflicts_with_all = ["kill", "plugin", "sql"])]
    status: Option<AppId>,
    /// End an application, as `firesteel kill` does, and submit nothing
    #[arg(long, value_name = "APPLICATION", conflicts_with_all = ["plugin", "sql"])]
    kill: Option<AppId>,
    /// Wait for the end and print the result (the default)
    #[arg(long, overrides_with = "no_wait")]
    wait: bool,
    /// Print the application's id and do not wait for its end
    #[arg(long, overrides_with = "wait")]
    no_wait: bool,
    /// Show what it prints and how far it is while it runs (the default)
    #[arg(long, overrides_with = "quiet")]
    follow: bool,
    /// Show nothing of what the application prints or how far it is
    #[arg(short, long, overrides_with = "follow")]
    quiet: bool,
    /// Whether the cluster lives only as long as this command.
    #[arg(skip)]
    is_temporary: bool,
    #[command(flatten)]
    spark: spark::SparkArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(flatten)]
    settings: SettingsArgs,
}

/// Where the driver runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Deploy {
    /// Beside this command, as its child.
    Client,
    /// On a worker.
    Cluster,
}

impl From<Deploy> for DeployMode {
    fn from(deploy: Deploy) -> Self {
        match deploy {
            Deploy::Client => DeployMode::Client,
            Deploy::Cluster => DeployMode::Cluster,
        }
    }
}

/// What there is to know before anything is sent.
struct Plan {
    /// What the flags, the files and the environment come to.
    conf: conf::Effective,
    /// Where the driver runs.
    deploy: Deploy,
    /// The cluster that is to be started for it.
    temporary: Option<target::Temporary>,
}

impl SubmitArgs {
    /// Submits, and waits unless told not to.
    pub fn run(mut self) -> Outcome<Exit> {
        if let Some(app) = self.status {
            return super::status::show(&self.connect, app);
        }
        if let Some(app) = self.kill {
            return super::kill::end(&self.connect, app, ListFormat::Table);
        }
        let plan = self.plan()?;
        let (request, plugin) = request::build(&self, &plan)?;
        for warning in &plan.conf.warnings {
            print::talk(format!("warning: {}", print::safe(warning)));
        }
        if print::is_verbose() {
            dry_run::talk_configuration(&plan.conf);
        }
        if self.dry_run {
            return dry_run::run(&request, plugin.as_ref(), &plan.conf);
        }
        // From here on an application may be there, which Ctrl-C must kill; until here it ends the command.
        let stop = signals::stop_requests()?;
        let cluster = plan.temporary.as_ref().map(cluster::Running::start).transpose()?;
        if let Some(cluster) = &cluster {
            self.connect.master = None;
            self.connect.token_file = None;
            self.connect.run_dir = Some(cluster.dir().to_owned());
            self.is_temporary = true;
        }
        let client = Client::find(&self.connect)?;
        let plugin = plugin.map(Arc::new);
        self.run_with_retries(&client, &request, plugin.as_ref(), &stop)
    }

    /// Reads the layers of the configuration, and refuses what cannot go together.
    fn plan(&mut self) -> Outcome<Plan> {
        let target = |text: &str| target::parse(text);
        let mut from_flag = self.connect.master.as_deref().map(target).transpose()?;
        let failures = |target: &Option<target::Target>| match target {
            Some(target::Target::Temporary(cluster)) => cluster.task_failures,
            _ => None,
        };
        let mut conf = self.spark.effective(self.name.as_deref(), failures(&from_flag))?;
        if from_flag.is_none() {
            from_flag = conf.get(conf::MASTER).map(target).transpose()?;
            if let Some(times) = failures(&from_flag) {
                conf = self.spark.effective(self.name.as_deref(), Some(times))?;
            }
        }
        let temporary = match from_flag {
            Some(target::Target::Address(address)) => {
                self.connect.master = Some(address);
                None
            }
            Some(target::Target::Temporary(cluster)) => Some(cluster),
            None => None,
        };
        let deploy = match (self.deploy_mode, conf.get(conf::DEPLOY_MODE)) {
            (Some(deploy), _) => deploy,
            (None, Some(text)) => Deploy::from_str(text, true).map_err(|_| {
                Failure::usage(format!("{}: '{text}' is neither client nor cluster", conf::DEPLOY_MODE))
            })?,
            (None, None) => Deploy::Cluster,
        };
        self.refuse_contradictions(deploy, temporary.is_some())?;
        Ok(Plan { conf, deploy, temporary })
    }

    fn refuse_contradictions(&self, deploy: Deploy, temporary: bool) -> Outcome<()> {
        if self.no_wait && deploy == Deploy::Client {
            return Err(Failure::usage(
                "in client mode the driver is a child of this command, which must wait for it",
            )
            .with_help("leave out --no-wait, or use --deploy-mode cluster"));
        }
        if self.no_wait && temporary {
            return Err(Failure::usage("a temporary cluster ends with this command, which must wait")
                .with_help("leave out --no-wait, or start a cluster with `firesteel local`"));
        }
        if self.no_wait && self.max_retries > 0 {
            return Err(Failure::usage("--max-retries needs a command that waits for the end")
                .with_help("leave out --no-wait, or use --supervise for a driver that dies"));
        }
        if self.idempotency_key.is_some() && self.max_retries > 0 {
            return Err(Failure::usage("under an idempotency key there is exactly one run, and no retry")
                .with_help("leave out --max-retries or --idempotency-key"));
        }
        Ok(())
    }

    /// Submits, and again when it fails, as often as is allowed.
    fn run_with_retries(
        &self,
        client: &Client,
        request: &SubmitRequest,
        plugin: Option<&Arc<request::Plugin>>,
        stop: &Receiver<Stop>,
    ) -> Outcome<Exit> {
        let mut left = self.max_retries;
        loop {
            let end = self.submit_once(client, request, plugin, stop);
            match &end {
                Err(failure)
                    if left > 0
                        && failure.exit == Exit::ApplicationFailed
                        && failure.error.code != ErrorCode::Killed =>
                {
                    print::error(&failure.error);
                    print::talk(format!("submitting it again (up to {left} times)"));
                    left -= 1;
                }
                _ => return end,
            }
        }
    }

    fn submit_once(
        &self,
        client: &Client,
        request: &SubmitRequest,
        plugin: Option<&Arc<request::Plugin>>,
        stop: &Receiver<Stop>,
    ) -> Outcome<Exit> {
        let Some(response) = send::unless_stopped(client, request, plugin, stop)? else {
            return Ok(Exit::Interrupted);
        };
        if self.no_wait {
            match self.output.format {
                Some(crate::rows::Format::Json) => super::print_json(&response)?,
                _ => print::line(response.app.to_string())?,
            }
            return Ok(Exit::Done);
        }
        if !self.quiet {
            print::talk(format!("{} submitted", response.app));
        }
        let mut driver = match &response.client_driver {
            Some(place) => {
                let sql = self.settings.load(&[])?.sql;
                Some(client_driver::start(response.app, place, request, plugin.map(Arc::as_ref), sql)?)
            }
            None => None,
        };
        let driver_ended = driver.as_ref().map_or_else(never, |driver| driver.ended.clone());
        let can_detach = driver.is_none() && !self.is_temporary;
        let end = self.wait_for_end(client, response.app, stop, &driver_ended, can_detach);
        if let Some(driver) = &mut driver {
            driver.finish();
        }
        end
    }

    /// Shows the application until it has ended, then prints its result.
    fn wait_for_end(
        &self,
        client: &Client,
        app: AppId,
        stop: &Receiver<Stop>,
        driver_ended: &Receiver<String>,
        can_detach: bool,
    ) -> Outcome<Exit> {
        let screen = screen::Screen::new(!self.quiet);
        let follower = if self.quiet { None } else { Some(follow::start(client, app, &screen)?) };
        let (client_of_thread, (sender, ended)) = (client.clone(), bounded(1));
        std::thread::Builder::new()
            .name("result".into())
            .spawn(move || {
                // Nobody waits any more if the command was stopped.
                let _ = sender.send(super::status::ended(&client_of_thread, app));
            })
            .map_err(|cause| Failure::io("starting a thread", &cause))?;
        let status = loop {
            select! {
                recv(ended) -> status => break status.ok(),
                recv(stop) -> why => match question::ask(&screen, app, can_detach, why.ok(), stop) {
                    question::Answer::Continue => {}
                    question::Answer::Detach => {
                        screen.clear();
                        print::talk(format!("{app} goes on: firesteel status {app}, firesteel kill {app}"));
                        return Ok(Exit::Done);
                    }
                    question::Answer::Kill => {
                        screen.clear();
                        print::talk(format!("stopped: killing {app}"));
                        kill(client, app)?;
                        return Ok(Exit::Interrupted);
                    }
                },
                recv(driver_ended) -> how => match ended.recv_timeout(AFTER_DRIVER) {
                    Err(RecvTimeoutError::Timeout) => {
                        kill(client, app)?;
                        let how = how.unwrap_or_default();
                        return Err(driver_died(&format!("the driver ended ({how}) without an outcome")));
                    }
                    status => break status.ok(),
                },
            }
        };
        if let Some(follower) = follower {
            follower.finish();
        }
        screen.clear();
        let status = status.ok_or_else(|| driver_died("the end of the application was not heard of"))??;
        super::result::print(client, status, &self.output)
    }
}

fn kill(client: &Client, app: AppId) -> Outcome<()> {
    client.command(&format!("/applications/{app}/kill"))
}

fn driver_died(message: &str) -> Failure {
    Failure::application(Error::new(ErrorCode::ProcessDied, message))
}
