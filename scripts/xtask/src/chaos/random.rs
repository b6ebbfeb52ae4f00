//! `scripts/chaos --random N`: schedules of several faults at random moments in a random job. Every one must
//! come out right at the first try.

use super::draw::Draw;
use super::jobs::Kind;
use super::lab::{Finding, Lab, signal};
use super::report::Figures;
use crate::failed;
use firesteel_common::error::Result;
use firesteel_common::id::AppId;
use firesteel_tests::cluster::Setup;
use rustix::process::Signal;
use std::time::{Duration, Instant};

/// Workers of a schedule.
const WORKERS: usize = 3;
/// Faults of a schedule at least and at most.
const FAULTS: (u64, u64) = (2, 4);
/// How often a driver may be lost: fewer than it may be started again.
const DRIVERS_MAX: u32 = 3;
/// How often a schedule is tried whose job ended before anything happened to it, each time sooner.
const TRIES: u32 = 4;

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// A worker dies, and another one is started.
    Worker,
    /// The executors of a worker die.
    Executor,
    /// The driver dies.
    Driver,
    /// The master dies, and is started again.
    Master,
    /// A worker stops for longer than the master's patience.
    FreezeWorker,
    /// The master stops for longer than its patience.
    FreezeMaster,
    /// A block is damaged as it is read.
    Corrupt,
    /// A block is said not to be there.
    Refuse,
    /// A worker stays connected and says nothing.
    Silence,
}

const FAULT_KINDS: [Fault; 9] = [
    Fault::Worker,
    Fault::Executor,
    Fault::Driver,
    Fault::Master,
    Fault::FreezeWorker,
    Fault::FreezeMaster,
    Fault::Corrupt,
    Fault::Refuse,
    Fault::Silence,
];

/// Runs so many schedules.
///
/// # Errors
/// Names the seeds that came out wrong.
pub fn run(schedules: u64, seed: u64, figures: &mut Figures) -> Result<()> {
    let begin = Instant::now();
    let (mut wrong, mut faults) = (Vec::new(), 0);
    for number in 0..schedules {
        let seed = seed + number;
        let begin = Instant::now();
        // One in which nothing went wrong shows nothing.
        let mut tries = (1..=TRIES).map(|hurry| schedule(seed, hurry));
        let told = tries.find(|told| !matches!(told, Ok((.., finding)) if finding.fired == 0));
        match told.unwrap_or_else(|| Err(failed("no fault fired"))) {
            Ok((kind, names, finding)) => {
                faults += finding.fired;
                println!(
                    "schedule seed={seed} job={} faults={} fired={} equal=yes reran={} lost={} seconds={:.1}",
                    kind.name(),
                    names.join(","),
                    finding.fired,
                    finding.cost.reran,
                    finding.cost.lost,
                    begin.elapsed().as_secs_f64()
                );
            }
            Err(error) => {
                eprintln!("schedule seed={seed}: {error}\n{}", error.detail);
                wrong.push(seed);
            }
        }
    }
    let right = schedules - wrong.len() as u64;
    println!(
        "schedules={schedules} right={right} faults={faults} seconds={:.0}",
        begin.elapsed().as_secs_f64()
    );
    figures.random(&format!("{right} of {schedules} right at the first try, {faults} faults, seed {seed}"));
    if wrong.is_empty() { Ok(()) } else { Err(failed(format!("the schedules {wrong:?} came out wrong"))) }
}

fn schedule(seed: u64, hurry: u32) -> Result<(Kind, Vec<String>, Finding)> {
    let mut draw = Draw::new(seed);
    let kind = draw.one_of(&Kind::ALL).unwrap_or(Kind::Wordcount);
    let setup = Setup { cores: 1, ..Lab::setup(WORKERS as u32) }
        .set("scheduler.driver_attempts_max", DRIVERS_MAX)
        .set("scheduler.task_failures_max", 8)
        .set("scheduler.stage_attempts_max", 8);
    let setup = if draw.below(2) == 0 { setup } else { setup.set("shuffle.same_host", "map") };
    let lab = Lab::open(&setup)?;
    let job = lab.job(kind, 600, &mut draw)?;
    let begin = Instant::now();
    lab.run(&job)?;
    let usual = begin.elapsed();

    let mut run = job.run();
    run.request.conf.insert("spark.driver.supervise".into(), "true".into());
    let mut party = Party { lab, alive: (0..WORKERS).collect(), drivers: 0, names: Vec::new(), fired: 0 };
    let app = party.lab.cluster.submit(&run.request)?.app;
    let begin = Instant::now();
    let count = FAULTS.0 + draw.below(FAULTS.1 - FAULTS.0 + 1);
    let mut moments: Vec<Duration> =
        (0..count).map(|_| usual.mul_f64(0.05 + draw.below(1000) as f64 / 1100.0) / hurry).collect();
    moments.sort();
    let done = moments.into_iter().try_for_each(|moment| {
        std::thread::sleep(moment.saturating_sub(begin.elapsed()));
        party.harm(app, &mut draw)
    });
    let verdict = done.and_then(|()| party.lab.verdict(app, &job, &run));
    let verdict = verdict.map_err(|error| {
        let story = format!("{} {:?}\n{}", kind.name(), party.names, party.lab.cluster.tails());
        error.with_detail(story)
    });
    let finding = verdict?.fired(party.fired);
    let Party { lab, alive, names, .. } = party;
    lab.close(alive.len())?;
    Ok((kind, names, finding))
}

/// The cluster, and who of it is alive.
struct Party {
    lab: Lab,
    alive: Vec<usize>,
    drivers: u32,
    names: Vec<String>,
    fired: u64,
}

impl Party {
    /// Does something bad now.
    fn harm(&mut self, app: AppId, draw: &mut Draw) -> Result<()> {
        let mut fault = draw.one_of(&FAULT_KINDS).unwrap_or(Fault::Executor);
        let worker = draw.one_of(&self.alive).unwrap_or_default();
        if matches!(fault, Fault::Worker | Fault::Driver | Fault::FreezeWorker | Fault::Silence) {
            // Each of these may take a driver along.
            if self.drivers + 1 >= DRIVERS_MAX {
                fault = Fault::Executor;
            }
            self.drivers += 1;
        }
        self.names.push(format!("{fault:?}").to_lowercase());
        self.fired += 1;
        match fault {
            Fault::Worker => {
                self.lab.cluster.kill_worker(worker);
                self.alive.retain(|index| *index != worker);
                self.lab.cluster.spawn_worker()?;
                self.alive.push(self.lab.cluster.pids().len() - 2);
            }
            Fault::Executor => self.kill(&[worker], "executor"),
            Fault::Driver => {
                let all = self.alive.clone();
                self.kill(&all, "driver");
            }
            Fault::Master => {
                self.lab.cluster.kill_master();
                std::thread::sleep(Duration::from_millis(draw.below(600)));
                self.lab.cluster.restart_master()?;
            }
            Fault::FreezeWorker => {
                self.lab.cluster.signal_worker(worker, Signal::STOP);
                std::thread::sleep(Duration::from_millis(1_500));
                self.lab.cluster.signal_worker(worker, Signal::CONT);
            }
            Fault::FreezeMaster => {
                self.lab.cluster.signal_master(Signal::STOP);
                std::thread::sleep(Duration::from_millis(1_500));
                self.lab.cluster.signal_master(Signal::CONT);
            }
            Fault::Corrupt | Fault::Refuse => {
                let what = if fault == Fault::Corrupt { "corrupt" } else { "refuse" };
                let nth = 1 + draw.below(4) as u32;
                self.lab.plant("worker.data_request", nth, None, what)?;
            }
            Fault::Silence => self.silence(app, worker)?,
        }
        Ok(())
    }

    /// Kills the processes of this role below some workers; none may be there at this moment.
    fn kill(&mut self, workers: &[usize], role: &str) {
        let mut found = 0;
        for worker in workers {
            for process in self.lab.children(*worker, role) {
                signal(process.pid, Signal::KILL);
                found += 1;
            }
        }
        self.fired -= u64::from(found == 0);
    }

    /// A worker stays connected and silent until it is given up; then it is killed and replaced.
    fn silence(&mut self, _: AppId, worker: usize) -> Result<()> {
        let id = self.lab.cluster.worker_id(worker)?;
        let token = self.lab.plant("worker.heartbeat", 1, Some(id), "hang")?;
        std::thread::sleep(Duration::from_millis(1_500));
        self.fired -= u64::from(!token.fired());
        token.withdraw();
        self.lab.cluster.kill_worker(worker);
        self.alive.retain(|index| *index != worker);
        self.lab.cluster.spawn_worker()?;
        self.alive.push(self.lab.cluster.pids().len() - 2);
        Ok(())
    }
}
