//! `scripts/chaos --soak MINUTES`: mixed jobs without a pause, a kill every 20 s, and whether memory and
//! descriptors of the processes that are never killed stay flat.

use super::draw::Draw;
use super::jobs::{Job, Kind};
use super::lab::{Lab, signal};
use super::proc;
use super::report::Figures;
use crate::failed;
use firesteel_common::error::Result;
use rustix::process::Signal;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Workers; the first is never killed, nor is the master.
const WORKERS: usize = 3;
/// How often something is killed.
const KILL_EVERY: Duration = Duration::from_secs(20);
/// How often memory and descriptors are read.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// The bars: growth of memory in KiB a minute once warm, and of descriptors from the first to the last third.
const GROWTH_MAX: f64 = 1024.0;
const DESCRIPTORS_MAX: f64 = 8.0;

/// One look at a process.
#[derive(Clone, Copy, Debug)]
struct Look {
    minutes: f64,
    resident_kib: f64,
    descriptors: f64,
}

/// Runs it.
///
/// # Errors
/// If a job came out wrong, or something grew.
pub fn run(minutes: u64, seed: u64, figures: &mut Figures) -> Result<()> {
    let mut draw = Draw::new(seed);
    let setup = Lab::setup(WORKERS as u32).set("scheduler.task_failures_max", 8);
    let lab = Lab::open(&setup)?;
    let jobs: Result<Vec<Job>> = Kind::ALL.into_iter().map(|kind| lab.job(kind, 150, &mut draw)).collect();
    let jobs = jobs?;
    let pids = lab.cluster.pids();
    let (stop, kills) = (AtomicBool::new(false), AtomicU64::new(0));
    let looks: Mutex<[Vec<Look>; 2]> = Mutex::default();
    let lab = Mutex::new(lab);
    let begin = Instant::now();
    let end = begin + Duration::from_secs(minutes * 60);
    let ran = std::thread::scope(|scope| {
        scope.spawn(|| watch(&pids, begin, &stop, &looks));
        let worker = scope.spawn(|| {
            let ran = work(&lab, &jobs, (end, &stop), &mut draw);
            stop.store(true, Ordering::Relaxed);
            ran
        });
        // On this thread: a process dies with the thread that has started it.
        let killed = kill_all_the_time(&lab, seed, &stop, &kills);
        stop.store(true, Ordering::Relaxed);
        let ran = worker.join().unwrap_or_else(|_| Err(failed("the thread that submits panicked")));
        ran.and_then(|ran| killed.map(|()| ran))
    });
    let kills = kills.load(Ordering::Relaxed);
    let looks = looks.into_inner().unwrap_or_else(PoisonError::into_inner);
    let lab = lab.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut grew = Vec::new();
    let mut told = String::new();
    for (name, looks) in ["master", "worker-1"].iter().zip(&looks) {
        let Growth { slope, descriptors, last } = growth(looks);
        println!(
            "soak process={name} looks={} resident_mib={:.1} kib_per_minute={slope:.0} \
             descriptors={:.0} descriptors_more={descriptors:.1}",
            looks.len(),
            last.resident_kib / 1024.0,
            last.descriptors
        );
        let resident = last.resident_kib / 1024.0;
        told.push_str(&format!(
            "; {name} {resident:.0} MiB, {slope:+.0} KiB/min, {descriptors:+.1} descriptors"
        ));
        if slope > GROWTH_MAX || descriptors > DESCRIPTORS_MAX {
            grew.push(format!("{name} grows by {slope:.0} KiB a minute and {descriptors:.1} descriptors"));
        }
    }
    let ran = ran.map_err(|error| error.with_detail(lab.cluster.tails()))?;
    lab.close(WORKERS)?;
    println!("soak minutes={minutes} jobs={ran} kills={kills} wrong=0");
    figures.soak(&format!("{minutes} min, {ran} jobs right, {kills} kills{told}"));
    if grew.is_empty() { Ok(()) } else { Err(failed(grew.join("; "))) }
}

/// One job after the other until the time is over; how many there were.
fn work(lab: &Mutex<Lab>, jobs: &[Job], end: (Instant, &AtomicBool), draw: &mut Draw) -> Result<u64> {
    let mut ran = 0;
    while Instant::now() < end.0 && !end.1.load(Ordering::Relaxed) {
        let Some(job) = jobs.get(draw.below(jobs.len() as u64) as usize) else { break };
        let mut run = job.run();
        run.request.conf.insert("spark.driver.supervise".into(), "true".into());
        let app = with(lab, |lab| Ok(lab.cluster.submit(&run.request)?.app))?;
        // The cluster is not held meanwhile: the killer needs it.
        loop {
            if with(lab, |lab| lab.status(app))?.state.is_final() {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        with(lab, |lab| lab.verdict(app, job, &run))?;
        ran += 1;
    }
    Ok(ran)
}

fn with<T>(lab: &Mutex<Lab>, act: impl FnOnce(&mut Lab) -> Result<T>) -> Result<T> {
    act(&mut lab.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Kills an executor, a driver or a worker that is not the first, again and again.
fn kill_all_the_time(lab: &Mutex<Lab>, seed: u64, stop: &AtomicBool, kills: &AtomicU64) -> Result<()> {
    let mut draw = Draw::new(!seed);
    let mut alive: Vec<usize> = (0..WORKERS).collect();
    let mut next = Instant::now() + KILL_EVERY;
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(100));
        if Instant::now() < next {
            continue;
        }
        next += KILL_EVERY;
        let what = draw.below(3);
        let killed = with(lab, |lab| {
            if what == 0 {
                let Some(victim) = draw.one_of(alive.get(1..).unwrap_or_default()) else { return Ok(0) };
                lab.cluster.kill_worker(victim);
                alive.retain(|index| *index != victim);
                lab.cluster.spawn_worker()?;
                alive.push(lab.cluster.pids().len() - 2);
                return Ok(1);
            }
            let role = if what == 1 { "executor" } else { "driver" };
            let victims: Vec<_> = alive.iter().flat_map(|worker| lab.children(*worker, role)).collect();
            // One that runs now; if there is none, something is killed 20 s later.
            let victim = victims.get(draw.below(victims.len() as u64) as usize);
            victim.iter().for_each(|victim| signal(victim.pid, Signal::KILL));
            Ok(u64::from(victim.is_some()))
        })?;
        kills.fetch_add(killed, Ordering::Relaxed);
    }
    Ok(())
}

/// Looks at the master and the first worker.
fn watch(pids: &[u32], begin: Instant, stop: &AtomicBool, looks: &Mutex<[Vec<Look>; 2]>) {
    let mut next = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(100));
        if Instant::now() < next {
            continue;
        }
        next += LOOK_EVERY;
        let mut looks = looks.lock().unwrap_or_else(PoisonError::into_inner);
        for (pid, looks) in pids.iter().zip(looks.iter_mut()) {
            let read = proc::resident_kib(*pid).zip(proc::descriptors(*pid));
            let minutes = begin.elapsed().as_secs_f64() / 60.0;
            looks.extend(read.map(|(resident, descriptors)| Look {
                minutes,
                resident_kib: resident as f64,
                descriptors: descriptors as f64,
            }));
        }
    }
}

/// How a process grew.
struct Growth {
    /// KiB a minute, by least squares over the second half: before, caches fill.
    slope: f64,
    /// Descriptors more in the last third than in the first.
    descriptors: f64,
    last: Look,
}

fn growth(looks: &[Look]) -> Growth {
    let half = looks.get(looks.len() / 2..).unwrap_or_default();
    let count = half.len().max(1) as f64;
    let mean = |value: &dyn Fn(&Look) -> f64| half.iter().map(value).sum::<f64>() / count;
    let (x, y) = (mean(&|look| look.minutes), mean(&|look| look.resident_kib));
    let above: f64 = half.iter().map(|look| (look.minutes - x) * (look.resident_kib - y)).sum();
    let below: f64 = half.iter().map(|look| (look.minutes - x).powi(2)).sum();
    let third = looks.len() / 3;
    let median = |part: &[Look]| {
        let mut values: Vec<f64> = part.iter().map(|look| look.descriptors).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or_default()
    };
    let (first, last) = (looks.get(..third), looks.get(looks.len() - third..));
    let zero = Look { minutes: 0.0, resident_kib: 0.0, descriptors: 0.0 };
    Growth {
        slope: if below > 0.0 { above / below } else { 0.0 },
        descriptors: median(last.unwrap_or_default()) - median(first.unwrap_or_default()),
        last: looks.last().copied().unwrap_or(zero),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_that_of_the_second_half() {
        let look = |minutes: f64| Look {
            minutes,
            resident_kib: if minutes < 5.0 { minutes * 1e6 } else { 5e6 + 7.0 * minutes },
            descriptors: 10.0 + (minutes / 4.0).floor(),
        };
        let looks: Vec<Look> = (0..120).map(|number| look(f64::from(number) / 12.0)).collect();
        let growth = growth(&looks);
        assert!((growth.slope - 7.0).abs() < 1e-6, "{}", growth.slope);
        assert_eq!((growth.descriptors, growth.last.descriptors), (2.0, 12.0));
    }
}
