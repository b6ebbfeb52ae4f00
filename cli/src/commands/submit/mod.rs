//! `firesteel submit`: hands an application to the cluster, shows what it prints and how far it is, and
//! prints its result.

mod client_driver;
mod follow;
mod request;

use super::result::OutputArgs;
use crate::client::{Client, ConnectArgs};
use crate::failure::{Exit, Failure, Outcome};
use crate::settings::SettingsArgs;
use crate::{print, signals};
use clap::{Args, ValueEnum};
use crossbeam::channel::{Receiver, RecvTimeoutError, bounded, never};
use crossbeam::select;
use firesteel_common::error::{Error, ErrorCode};
use firesteel_common::http::DeployMode;
use firesteel_common::id::AppId;
use std::path::PathBuf;
use std::time::Duration;

/// How long the outcome may take to be known once the driver of client mode has ended.
const AFTER_DRIVER: Duration = Duration::from_secs(5);

/// Runs an entry point of a compiled job, or a SQL text, on the cluster
///
/// The plugin is uploaded once; it is known by its content afterwards. What the
/// driver and the tasks print, and how far the work is, appear on standard error;
/// the result goes to standard output. Ctrl-C kills the application (use --no-wait
/// for one that shall go on).
///
/// Paths in arguments are opened by the workers: give absolute ones.
#[derive(Debug, Args)]
#[command(
    verbatim_doc_comment,
    after_help = "\
Examples:
  firesteel submit libwordcount.so --entry wordcount input=/usr/share/doc top=20
  firesteel submit --sql q.sql --table lineitem=/data/lineitem.parquet --format csv
  app=$(firesteel submit --no-wait job.so) && firesteel result \"$app\""
)]
pub struct SubmitArgs {
    /// The compiled job: a shared object
    #[arg(value_name = "PLUGIN.so", required_unless_present = "sql", conflicts_with = "sql")]
    plugin: Option<PathBuf>,
    /// Arguments of the entry point, by name
    #[arg(value_name = "ARG=VALUE", conflicts_with = "sql")]
    args: Vec<String>,
    /// The entry point; may be left out if the plugin has only one
    #[arg(long, value_name = "NAME", conflicts_with = "sql")]
    entry: Option<String>,
    /// Run the SQL text of this file instead of a plugin (- for standard input)
    #[arg(long, value_name = "FILE")]
    sql: Option<PathBuf>,
    /// A table of the SQL text: a Parquet file or a directory of such
    #[arg(long, value_name = "NAME=PATH", requires = "sql", num_args = 1..)]
    table: Vec<String>,
    /// Where the driver runs
    #[arg(long, value_enum, default_value_t = Deploy::Cluster)]
    deploy_mode: Deploy,
    /// A name for lists
    #[arg(long)]
    name: Option<String>,
    /// A second submission under this key is the first one
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Wait for the end and print the result (the default)
    #[arg(long, overrides_with = "no_wait")]
    wait: bool,
    /// Print the application's id and do not wait for its end
    #[arg(long)]
    no_wait: bool,
    /// Show nothing of what the application prints or how far it is
    #[arg(short, long)]
    quiet: bool,
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

impl SubmitArgs {
    /// Submits, and waits unless told not to.
    pub fn run(self) -> Outcome<Exit> {
        if self.no_wait && self.deploy_mode == Deploy::Client {
            return Err(Failure::usage(
                "in client mode the driver is a child of this command, which must wait for it",
            )
            .with_help("leave out --no-wait, or use --deploy-mode cluster"));
        }
        let client = Client::find(&self.connect)?;
        let (request, plugin) = request::build(&self)?;
        // From here on an application may be there, which Ctrl-C must kill; until here it ends the command.
        let stop = signals::stop_requests()?;
        let response = request::send(&client, &request, plugin.as_ref())?;
        if self.no_wait {
            print::line(response.app.to_string())?;
            return Ok(Exit::Done);
        }
        if !self.quiet {
            print::talk(format!("{} submitted", response.app));
        }
        let mut driver = match &response.client_driver {
            Some(place) => {
                let sql = self.settings.load(&[])?.sql;
                Some(client_driver::start(response.app, place, &request, plugin.as_ref(), sql)?)
            }
            None => None,
        };
        let driver_ended = driver.as_ref().map_or_else(never, |driver| driver.ended.clone());
        let end = self.wait_for_end(&client, response.app, &stop, &driver_ended);
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
        stop: &Receiver<()>,
        driver_ended: &Receiver<String>,
    ) -> Outcome<Exit> {
        let follower = if self.quiet { None } else { Some(follow::start(client, app)?) };
        let (client_of_thread, (sender, ended)) = (client.clone(), bounded(1));
        std::thread::Builder::new()
            .name("result".into())
            .spawn(move || {
                // Nobody waits any more if the command was stopped.
                let _ = sender.send(super::status::ended(&client_of_thread, app));
            })
            .map_err(|cause| Failure::io("starting a thread", &cause))?;
        let status = select! {
            recv(ended) -> status => status.ok(),
            recv(stop) -> _ => {
                print::talk(format!("stopped: killing {app}"));
                kill(client, app)?;
                return Ok(Exit::Interrupted);
            }
            recv(driver_ended) -> how => match ended.recv_timeout(AFTER_DRIVER) {
                Err(RecvTimeoutError::Timeout) => {
                    kill(client, app)?;
                    let how = how.unwrap_or_default();
                    return Err(driver_died(&format!("the driver ended ({how}) without an outcome")));
                }
                status => status.ok(),
            },
        };
        if let Some(follower) = follower {
            follower.finish();
        }
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
