//! What must hold after every step, as functions. The simulator calls [`check`] after each; the tests too.

use crate::Scheduler;
use crate::app::{Phase, Run};
use crate::stage::{Stage, Task, TaskState};
use std::collections::{BTreeMap, BTreeSet};

/// Checks all invariants; says which one is broken.
///
/// # Errors
/// The text of the first broken invariant.
pub fn check(scheduler: &Scheduler) -> Result<(), String> {
    worker_slots_add_up(scheduler)?;
    running_attempts_are_known_on_both_sides(scheduler)?;
    no_free_slot_while_a_task_could_take_it(scheduler)?;
    task_sets_are_queued_when_open(scheduler)?;
    ended_apps_leave_nothing(scheduler)?;
    scheduler.check_queue()?;
    for app in scheduler.apps.values() {
        counts_add_up(&app.run)?;
        outputs_are_on_live_workers(scheduler, &app.run)?;
        open_stages_have_their_inputs(&app.run)?;
        jobs_and_stages_name_each_other(&app.run)?;
        wanted_tasks_are_under_way(scheduler, &app.run)?;
        if matches!(app.phase, Phase::Ending { .. }) && !app.run.jobs.is_empty() {
            return Err(format!("{} ends, but has jobs", app.id));
        }
    }
    Ok(())
}

fn ensure(holds: bool, text: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(text()) }
}

fn worker_slots_add_up(scheduler: &Scheduler) -> Result<(), String> {
    for worker in scheduler.cluster.workers.iter() {
        let holds_slot = |task: &&firesteel_common::id::TaskId| {
            let attempt = scheduler.apps.get(&task.app.app).and_then(|app| app.run.attempt(**task));
            attempt.is_some_and(|attempt| attempt.waits == 0)
        };
        let used = worker.running.iter().filter(holds_slot).count();
        ensure(used == worker.used as usize, || {
            format!("{} counts {} used slots, but {used} attempts hold one", worker.id, worker.used)
        })?;
        ensure(worker.indexed == worker.free(), || format!("{} is indexed under a wrong number", worker.id))?;
    }
    Ok(())
}

fn running_attempts_are_known_on_both_sides(scheduler: &Scheduler) -> Result<(), String> {
    let mut on_workers = BTreeMap::new();
    for worker in scheduler.cluster.workers.iter() {
        for task in &worker.running {
            let twice = on_workers.insert(*task, worker.id).is_some();
            ensure(!twice, || format!("{task} runs twice"))?;
        }
    }
    for run in scheduler.apps.values().map(|app| &app.run) {
        for stage in run.stages.values() {
            for (partition, task) in (0u32..).zip(&stage.tasks) {
                for attempt in task.attempts() {
                    let id = run.task_id(stage.id, partition, attempt.number);
                    let listed = on_workers.remove(&id);
                    ensure(listed == Some(attempt.worker), || {
                        format!("{id} runs on {}, which does not know it, or is lost", attempt.worker)
                    })?;
                }
                copies_are_worth_it(run, stage, task)?;
            }
        }
    }
    ensure(on_workers.is_empty(), || format!("workers run attempts that are not known: {on_workers:?}"))
}

/// A copy runs only beside another attempt, elsewhere, and only where the application wants copies.
fn copies_are_worth_it(run: &Run, stage: &Stage, task: &Task) -> Result<(), String> {
    let Some(copy) = &task.copy else { return Ok(()) };
    let TaskState::Running(first) = &task.state else {
        return Err(format!("a task of {} of {} has a copy and does not run", stage.id, run.app));
    };
    let apart = first.worker != copy.worker && first.number != copy.number;
    ensure(apart && run.options.speculation.enabled, || {
        format!("two attempts at a task of {} of {} run for nothing", stage.id, run.app)
    })
}

fn no_free_slot_while_a_task_could_take_it(scheduler: &Scheduler) -> Result<(), String> {
    for key in &scheduler.cluster.placement.ready {
        let Some(run) = scheduler.apps.get(&key.0).map(|app| &app.run) else { continue };
        let Some(stage) = run.stages.get(&key.2) else { continue };
        let admitted = |worker: &crate::worker::Worker| {
            let mut tasks = (0u32..).zip(&stage.tasks);
            tasks.any(|(partition, task)| task.is_pending() && run.admits(key.2, partition, worker))
        };
        let could_take =
            |worker: &crate::worker::Worker| worker.free() > 0 && run.may_run_on(worker) && admitted(worker);
        let is_free = run.may_take_slot() && scheduler.cluster.workers.iter().any(could_take);
        let waits_for_place = stage.set.relax_at.is_some_and(|at| at > scheduler.cluster.now);
        ensure(!is_free || waits_for_place, || format!("a slot is free while tasks of {} wait", key.2))?;
    }
    Ok(())
}

fn task_sets_are_queued_when_open(scheduler: &Scheduler) -> Result<(), String> {
    let mut queued = BTreeSet::new();
    for run in scheduler.apps.values().map(|app| &app.run) {
        for stage in run.stages.values() {
            let should = stage.active && stage.open && stage.pending > 0;
            ensure(stage.key.is_some() == should, || {
                format!("{} of {} is queued when it should not be, or not when it should", stage.id, run.app)
            })?;
            queued.extend(stage.key);
        }
    }
    let ready = &scheduler.cluster.placement.ready;
    ensure(*ready == queued, || format!("the queue holds {ready:?}, the stages say {queued:?}"))
}

fn ended_apps_leave_nothing(scheduler: &Scheduler) -> Result<(), String> {
    for worker in scheduler.cluster.workers.iter() {
        for task in &worker.running {
            let known = scheduler.apps.get(&task.app.app).is_some_and(|app| app.run.app == task.app);
            ensure(known, || format!("{} runs {task} of an attempt that is over", worker.id))?;
        }
    }
    Ok(())
}

fn counts_add_up(run: &Run) -> Result<(), String> {
    let attempts = run.stages.values().flat_map(|stage| &stage.tasks).flat_map(Task::attempts);
    let held = attempts.filter(|attempt| attempt.waits == 0).count() as u32;
    ensure(held == run.slots, || format!("{} counts {} slots, but holds {held}", run.app, run.slots))?;
    for stage in run.stages.values() {
        let count = |select: &dyn Fn(TaskState) -> bool| {
            stage.tasks.iter().filter(|task| select(task.state)).count() as u32
        };
        let pending = count(&|state| state == TaskState::Pending);
        let running = stage.tasks.iter().flat_map(Task::attempts).count() as u32;
        let missing = stage.tasks.iter().filter(|task| task.output.is_none()).count() as u32;
        let right = pending == stage.pending
            && running == stage.running
            && (!stage.is_map || missing == stage.missing)
            && (stage.active || pending + running == 0);
        ensure(right, || format!("{} of {} has counted its tasks wrong", stage.id, run.app))?;
    }
    Ok(())
}

fn outputs_are_on_live_workers(scheduler: &Scheduler, run: &Run) -> Result<(), String> {
    for stage in run.stages.values() {
        for output in stage.tasks.iter().filter_map(|task| task.output) {
            ensure(scheduler.cluster.workers.get(output.worker).is_some(), || {
                format!("an output of {} of {} is on {}, which is lost", stage.id, run.app, output.worker)
            })?;
        }
    }
    let holders = run.datasets.values().flat_map(|dataset| dataset.holders.values()).flatten();
    for worker in holders {
        ensure(scheduler.cluster.workers.get(*worker).is_some(), || {
            format!("a cached partition of {} is on {worker}, which is lost", run.app)
        })?;
    }
    Ok(())
}

fn open_stages_have_their_inputs(run: &Run) -> Result<(), String> {
    for stage in run.stages.values().filter(|stage| stage.active && stage.pending > 0) {
        for (at, input) in stage.inputs.iter().enumerate() {
            let Some(parent) = run.stages.get(&input.stage) else {
                return Err(format!("{} of {} reads {}, which is forgotten", stage.id, run.app, input.stage));
            };
            let met = parent.missing == 0 || !run.needs_input(stage, at);
            ensure(!stage.open || met, || {
                format!("{} of {} is open, but {} is not complete", stage.id, run.app, parent.id)
            })?;
        }
        ensure(stage.open == stage.blockers.is_empty(), || {
            format!("{} of {} is open and blocked, or neither", stage.id, run.app)
        })?;
        for blocker in &stage.blockers {
            let incomplete = run.stages.get(blocker).is_some_and(|parent| parent.missing > 0);
            ensure(incomplete, || {
                format!("{} of {} is blocked by {blocker}, which is there", stage.id, run.app)
            })?;
        }
    }
    Ok(())
}

fn jobs_and_stages_name_each_other(run: &Run) -> Result<(), String> {
    for stage in run.stages.values() {
        for job in stage.jobs.iter().chain(&stage.targeted_by) {
            let known = run.jobs.get(job).is_some_and(|job| job.stages.contains(&stage.id));
            ensure(known, || format!("{} of {} is kept for {job}, which has ended", stage.id, run.app))?;
        }
    }
    for job in run.jobs.values() {
        for stage in &job.stages {
            let known = run.stages.get(stage).is_some_and(|stage| stage.jobs.contains(&job.id));
            ensure(known, || format!("{} of {} needs {stage}, which is forgotten", job.id, run.app))?;
        }
    }
    Ok(())
}

/// What an unfinished job waits for is being computed: no job hangs.
fn wanted_tasks_are_under_way(scheduler: &Scheduler, run: &Run) -> Result<(), String> {
    if scheduler.cluster.planted.is_some() || run.held {
        return Ok(());
    }
    let is_under_way = |stage: &Stage, partition: u32| {
        let idle = stage.tasks[partition as usize].state == TaskState::Idle;
        !idle || !run.is_wanted(stage, partition)
    };
    for id in run.needed_now(run.jobs.keys().copied()) {
        let Some(stage) = run.stages.get(&id) else { continue };
        ensure(stage.active, || format!("{id} of {} is needed, but not computed", run.app))?;
        let all = (0..stage.tasks.len() as u32).all(|partition| is_under_way(stage, partition));
        ensure(all, || format!("a wanted task of {id} of {} is neither pending nor running", run.app))?;
    }
    Ok(())
}
