//! `firesteel status`: where an application is in its life.

use super::{ListFormat, print_json};
use crate::client::{Client, ConnectArgs, WAIT_MS};
use crate::failure::{Exit, Outcome};
use crate::print;
use clap::Args;
use firesteel_common::http::{AppProgress, AppState, AppStatus, StageProgress};
use firesteel_common::id::AppId;

/// Shows where an application is in its life
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// The application, such as app-7
    #[arg(value_name = "APPLICATION")]
    app: AppId,
    /// Wait until it has ended; the exit code then is 1 if it did not succeed
    #[arg(long)]
    wait: bool,
    /// How to print it
    #[arg(short = 'o', long = "output", alias = "format", value_enum, default_value_t)]
    format: ListFormat,
    #[command(flatten)]
    connect: ConnectArgs,
}

impl StatusArgs {
    /// Prints the status.
    pub fn run(self) -> Outcome<Exit> {
        let client = Client::find(&self.connect)?;
        let status = if self.wait { ended(&client, self.app)? } else { get(&client, self.app, 0)? };
        match self.format {
            ListFormat::Json => print_json(&status)?,
            ListFormat::Table => print_one(&client, &status)?,
        }
        let failed = matches!(status.state, AppState::Failed | AppState::Killed);
        Ok(if self.wait && failed { Exit::ApplicationFailed } else { Exit::Done })
    }
}

/// What `submit --status` shows.
pub fn show(connect: &ConnectArgs, app: AppId) -> Outcome<Exit> {
    let client = Client::find(connect)?;
    print_one(&client, &get(&client, app, 0)?)?;
    Ok(Exit::Done)
}

fn print_one(client: &Client, status: &AppStatus) -> Outcome<()> {
    let mut text = describe(status);
    if status.state == AppState::Running {
        // Without it the status is still worth something.
        let progress = client.get::<AppProgress>(&format!("/applications/{}/progress", status.app));
        text.push_str(&progress.map(|progress| describe_progress(&progress)).unwrap_or_default());
    }
    print::data(print::safe(&text).as_bytes())
}

/// A row for each stage.
fn describe_progress(progress: &AppProgress) -> String {
    if progress.stages.is_empty() {
        return String::new();
    }
    let row = |stage: &StageProgress| {
        vec![
            stage.stage.to_string(),
            format!("{}/{}", stage.finished, stage.tasks),
            stage.running.to_string(),
            stage.failed.to_string(),
            stage.records.to_string(),
            stage.bytes.to_string(),
            stage.name.clone(),
        ]
    };
    let rows: Vec<_> = progress.stages.iter().map(row).collect();
    let header = ["STAGE", "TASKS", "RUNNING", "FAILED", "RECORDS", "BYTES", "NAME"];
    format!("\n{}", print::table(&header, &rows))
}

/// The status, at once or when the application has ended, at most `wait_ms` later.
pub fn get(client: &Client, app: AppId, wait_ms: u64) -> Outcome<AppStatus> {
    client.get(&format!("/applications/{app}?wait_ms={wait_ms}"))
}

/// The status once the application has ended, however long that takes.
pub fn ended(client: &Client, app: AppId) -> Outcome<AppStatus> {
    let mut client = client.clone();
    loop {
        let status = client.patiently(|client| get(client, app, WAIT_MS))?;
        if status.state.is_final() {
            return Ok(status);
        }
    }
}

/// Whose it is; what the cluster's own token has submitted belongs to the cluster.
pub fn owner(app: &AppStatus) -> &str {
    if app.owner.is_empty() { "cluster" } else { &app.owner }
}

/// How long it took, if it has ended.
pub fn seconds(app: &AppStatus) -> Option<String> {
    let ms = app.ended_ms?.saturating_sub(app.submitted_ms);
    Some(format!("{}.{:03}", ms / 1_000, ms % 1_000))
}

fn describe(app: &AppStatus) -> String {
    let mut text = String::new();
    let mut field = |name: &str, value: &str| text.push_str(&format!("{name:<12} {value}\n"));
    field("application", &app.app.to_string());
    field("name", &app.name);
    field("state", app.state.as_str());
    field("owner", owner(app));
    if !app.pool.is_empty() {
        field("pool", &app.pool);
    }
    for (name, value) in &app.tags {
        field("tag", &format!("{name}={value}"));
    }
    field("attempt", &app.attempt.to_string());
    match app.driver {
        Some(worker) => field("driver", &format!("on {worker}")),
        None if app.attempt > 0 => field("driver", "beside the submitting command"),
        None => {}
    }
    field("submitted", &print::utc(app.submitted_ms));
    if let (Some(ended), Some(seconds)) = (app.ended_ms, seconds(app)) {
        field("ended", &format!("{} (after {seconds} s)", print::utc(ended)));
    }
    if let Some(bytes) = app.result_bytes {
        field("result", &format!("{bytes} bytes"));
    }
    if let Some(error) = &app.error {
        field("error", &format!("[{}] {}", error.code, error.message));
        if !error.help.is_empty() {
            field("help", &error.help);
        }
    }
    text
}
