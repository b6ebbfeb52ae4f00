//! `scripts/chaos --kill`: a real cluster, one process of which dies in the middle of the work, and what came
//! of it.
//!
//! The same application runs twice on the same cluster: undisturbed, then with the fault planted. The counts
//! are read from the event log of the second run, and nothing else.

use crate::{failed, nothing, text};
use clap::{Args, ValueEnum};
use firesteel_common::error::{Error, Result};
use firesteel_common::event::{AppEvent, LoggedEvent};
use firesteel_common::http::{AppState, AppStatus, SubmitRequest};
use firesteel_common::id::{AppId, WorkerId};
use firesteel_tests::cluster::{Cluster, Setup, artifact};
use firesteel_tests::fault::{Cost, Token};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// Bytes of the text that is counted.
const TEXT_BYTES: u64 = 64 << 20;
/// Files that it is cut into, each of them a map partition: enough for every worker to write several outputs.
const FILES: usize = 16;
/// How often it is tried again when the driver was on the worker that died.
const TRIES: u32 = 5;
/// TPC-H query 18: three joins, and an aggregation under one of them.
const TPCH_18: &str = "
select c_name, c_custkey, o_orderkey, o_orderdate, o_totalprice, sum(l_quantity) as sum_qty
from customer, orders, lineitem
where o_orderkey in (
        select l_orderkey from lineitem group by l_orderkey having sum(l_quantity) > 300)
    and c_custkey = o_custkey and o_orderkey = l_orderkey
group by c_name, c_custkey, o_orderkey, o_orderdate, o_totalprice
order by o_totalprice desc, o_orderdate, o_orderkey
limit 100";

/// What dies, when, and in which job.
#[derive(Debug, Args)]
pub struct KillArgs {
    /// Which process dies, once
    #[arg(long, value_enum, group = "what")]
    pub kill: Option<Victim>,
    /// When: map:N is after the victim's Nth map output (the master dies right after a submission)
    #[arg(long, requires = "kill", value_name = "map:N", default_value = "map:3", value_parser = parse_after)]
    after: u32,
    /// What runs
    #[arg(long, value_enum, default_value_t = Job::Wordcount)]
    job: Job,
    /// Print, on standard error, the events that are counted
    #[arg(long)]
    events: bool,
    /// The scale of the TPC-H tables
    #[arg(long, default_value_t = 0.1)]
    scale: f64,
}

/// What dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Victim {
    Worker,
    Executor,
    Master,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Job {
    Wordcount,
    Tpch18,
}

fn parse_after(text: &str) -> std::result::Result<u32, String> {
    let count = text.strip_prefix("map:").and_then(|count| count.parse().ok()).filter(|count| *count > 0);
    count.ok_or_else(|| format!("'{text}' is not of the form map:N"))
}

/// Runs it.
///
/// # Errors
/// If the fault did not fire, or the answer is another one.
pub fn run(args: &KillArgs, victim: Victim) -> Result<()> {
    let faults = tempfile::tempdir().map_err(|cause| Error::io("making a directory", &cause))?;
    let setup = Setup::new(2).set("faults.dir", faults.path().display()).set("sql.partitions_per_slot", 4);
    let mut cluster = Cluster::start(&setup)?;
    let request = request(&cluster, args)?;
    match victim {
        Victim::Master => kill_master(&mut cluster, &request)?,
        _ => kill_in_the_middle(&mut cluster, &request, (args, victim), faults.path())?,
    }
    cluster.stop()
}

/// What to run, with its data in the run directory.
fn request(cluster: &Cluster, args: &KillArgs) -> Result<SubmitRequest> {
    let mut request = SubmitRequest { name: "chaos".into(), ..nothing() };
    match args.job {
        Job::Wordcount => {
            let input = texts(&cluster.scratch().join("text"))?;
            request.plugin = Some(cluster.upload(&artifact("libwordcount.so")?)?.hash);
            request.entry = "wordcount".into();
            request.args.insert("input".into(), input);
            request.args.insert("top".into(), "10000".into());
        }
        Job::Tpch18 => {
            request.sql = Some(TPCH_18.into());
            request.tables = tpch(&cluster.scratch().join("tpch"), args.scale)?;
        }
    }
    Ok(request)
}

/// Text of this machine in several files of a directory.
fn texts(dir: &Path) -> Result<String> {
    let failed = |cause: std::io::Error| Error::io("writing the text", &cause);
    std::fs::create_dir_all(dir).map_err(failed)?;
    let whole = dir.with_extension("whole");
    text::collect(&whole, TEXT_BYTES, true)?;
    let text = std::fs::read(&whole).map_err(failed)?;
    let mut rest = text.as_slice();
    for index in 0..FILES {
        let wanted = text.len() / FILES;
        let end =
            rest.iter().skip(wanted).position(|byte| *byte == b'\n').map_or(rest.len(), |at| wanted + at + 1);
        let (part, after) = rest.split_at(if index + 1 == FILES { rest.len() } else { end });
        std::fs::write(dir.join(format!("{index:02}.txt")), part).map_err(failed)?;
        rest = after;
    }
    std::fs::remove_file(&whole).map_err(failed)?;
    Ok(dir.display().to_string())
}

/// Makes the tables with the program that the same build has made for it.
fn tpch(dir: &Path, scale: f64) -> Result<BTreeMap<String, String>> {
    let program = artifact("examples/tpch")?;
    let text = crate::cargo::output(Command::new(program).arg(dir).args([scale.to_string(), "8".into()]))?;
    Ok(text.lines().filter_map(|line| line.split_once('=')).map(|(a, b)| (a.into(), b.into())).collect())
}

fn kill_in_the_middle(
    cluster: &mut Cluster,
    request: &SubmitRequest,
    (args, victim): (&KillArgs, Victim),
    faults: &Path,
) -> Result<()> {
    let (app, expected) = cluster.run(request)?;
    let mut driver = status(cluster, app)?.driver;
    for _ in 0..TRIES {
        let worker = other_worker(cluster, driver)?;
        let token = plant(faults, victim, args.after, worker)?;
        let (app, found) = cluster.run(request)?;
        let ended = status(cluster, app)?;
        driver = ended.driver;
        if victim == Victim::Worker && ended.attempt > 1 {
            // The driver's place was guessed from the last run, and the guess was wrong: it died with the
            // worker.
            replace_worker(cluster, &token)?;
            continue;
        }
        let log = cluster.events(app)?;
        if args.events {
            log.iter().filter(|line| Cost::counts(line)).for_each(|line| eprintln!("{line:?}"));
        }
        return report(&log, &token, expected == found);
    }
    Err(failed("the driver was on the worker that died, every time"))
}

/// Prints the outcome in one line.
fn report(log: &[LoggedEvent], token: &Token, equal: bool) -> Result<()> {
    let fired = u32::from(token.fired());
    let Cost { reran, lost } = Cost::of(log);
    println!("fired={fired} equal={} reran={reran} lost={lost}", if equal { "yes" } else { "no" });
    if fired == 0 || !equal {
        return Err(failed("the fault did not fire, or the answer is another one"));
    }
    Ok(())
}

/// Plants a fault that fires once.
fn plant(faults: &Path, victim: Victim, after: u32, worker: WorkerId) -> Result<Token> {
    let point = if victim == Victim::Worker { "worker.map_output" } else { "executor.task_end" };
    Token::plant(faults, point, after, Some(worker), "die")
}

/// Brings the cluster back to two workers.
fn replace_worker(cluster: &mut Cluster, token: &Token) -> Result<()> {
    token.withdraw();
    if token.fired() {
        cluster.wait_for_workers(1)?;
        cluster.spawn_worker()?;
    }
    cluster.wait_for_workers(2).map(drop)
}

fn other_worker(cluster: &Cluster, driver: Option<WorkerId>) -> Result<WorkerId> {
    let workers = cluster.wait_for_workers(2)?;
    let other = workers.iter().find(|worker| worker.alive && Some(worker.worker) != driver);
    other.map(|worker| worker.worker).ok_or_else(|| failed("there is no worker without the driver"))
}

fn status(cluster: &Cluster, app: AppId) -> Result<AppStatus> {
    cluster.get_json(&format!("/applications/{app}"))
}

/// Kills the master right after it has acknowledged a submission.
fn kill_master(cluster: &mut Cluster, request: &SubmitRequest) -> Result<()> {
    let (_, expected) = cluster.run(request)?;
    let request = SubmitRequest { idempotency_key: Some("chaos".into()), ..request.clone() };
    let before: Vec<AppStatus> = cluster.get_json("/applications")?;
    let app = cluster.submit(&request)?.app;
    cluster.kill_master();
    cluster.restart_master()?;
    let again = cluster.submit(&request)?.app;
    let status = cluster.wait(app)?;
    let found = if status.state == AppState::Succeeded {
        cluster.get(&format!("/applications/{app}/result"))?
    } else {
        Vec::new()
    };
    let third = cluster.submit(&request)?.app;
    let after: Vec<AppStatus> = cluster.get_json("/applications")?;
    let log = cluster.events(app)?;
    let outcomes = log.iter().filter(|line| matches!(line.event, AppEvent::AppEnded { .. })).count();
    let Cost { reran, lost } = Cost::of(&log);
    let equal = expected == found;
    println!(
        "fired=1 equal={} reran={reran} lost={lost} outcomes={outcomes} applications={} same_key_same_app={}",
        if equal { "yes" } else { "no" },
        after.len() - before.len(),
        if again == app && third == app { "yes" } else { "no" },
    );
    let once = outcomes == 1 && after.len() == before.len() + 1 && again == app && third == app;
    if equal && once { Ok(()) } else { Err(failed("the application did not have exactly one outcome")) }
}

#[cfg(test)]
mod tests {
    use super::parse_after;

    #[test]
    fn when_is_a_count_of_map_outputs() {
        assert_eq!(parse_after("map:3"), Ok(3));
        assert!(
            parse_after("map:0").is_err() && parse_after("map").is_err() && parse_after("task:3").is_err()
        );
    }
}
