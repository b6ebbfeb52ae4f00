//! How far an application is, in words, made from its event log. Pure: where the words go is not known here.

use firesteel_common::event::{AppEvent, StartCause};
use firesteel_common::id::StageId;
use std::collections::BTreeMap;

/// Characters of the bar.
const BAR: u64 = 10;

/// What the words are made from.
#[derive(Default)]
pub struct Progress {
    stages: BTreeMap<StageId, Stage>,
    again: u32,
    records: u64,
    bytes: u64,
}

struct Stage {
    name: String,
    tasks: u32,
    finished: u32,
    done: bool,
}

impl Progress {
    /// What to say about an event; mostly nothing.
    pub fn line(&mut self, event: AppEvent) -> Option<String> {
        match event {
            AppEvent::StageAdded { stage, name, tasks, .. } => {
                self.stages.insert(stage, Stage { name, tasks, finished: 0, done: false });
                None
            }
            AppEvent::StageFinished { stage } => {
                let stage_of = self.stages.get_mut(&stage)?;
                stage_of.done = true;
                let again = std::mem::take(&mut self.again);
                let again = if again > 0 { format!(", {again} run again") } else { String::new() };
                Some(format!("{stage} done: {}, {} tasks{again}", stage_of.name, stage_of.tasks))
            }
            AppEvent::TaskStarted { cause, .. } => {
                self.again += u32::from(!matches!(cause, StartCause::First | StartCause::Speculation));
                None
            }
            AppEvent::TaskFinished { task, metrics } => {
                if let Some(stage) = self.stages.get_mut(&task.stage) {
                    stage.finished += 1;
                }
                self.records += metrics.input_records + metrics.read_records;
                self.bytes += metrics.input_bytes + metrics.local_read_bytes + metrics.remote_read_bytes;
                None
            }
            AppEvent::OutputLost { task, .. } => {
                if let Some(stage) = self.stages.get_mut(&task.stage) {
                    stage.finished = stage.finished.saturating_sub(1);
                    stage.done = false;
                }
                None
            }
            AppEvent::AppStarted { worker, .. } => {
                // A new attempt of the driver begins anew.
                *self = Self::default();
                worker.map(|worker| format!("driver on {worker}"))
            }
            AppEvent::TaskFailed { task, error } => Some(format!("{task} failed: {error}")),
            AppEvent::ExecutorLost { worker, reason } => Some(format!("executor on {worker} lost: {reason}")),
            AppEvent::WorkerLost { worker, .. } => Some(format!("{worker} lost")),
            _ => None,
        }
    }

    /// One line of all of it; what matters most stands first, since a narrow terminal cuts it.
    pub fn bar(&self) -> String {
        if self.stages.is_empty() {
            return "driver runs".to_owned();
        }
        let (mut tasks, mut finished) = (0, 0);
        for stage in self.stages.values() {
            tasks += u64::from(stage.tasks);
            // A stage may be done without all of its tasks: only what is wanted of it runs.
            let of_stage = if stage.done { stage.tasks } else { stage.finished.min(stage.tasks) };
            finished += u64::from(of_stage);
        }
        let filled = (finished * BAR).checked_div(tasks).unwrap_or(BAR);
        let bar: String = (0..BAR).map(|at| if at < filled { '#' } else { '.' }).collect();
        let done = self.stages.values().filter(|stage| stage.done).count();
        let now = self.stages.values().find(|stage| !stage.done).map(|stage| stage.name.as_str());
        // A text that is read as it is has lines, and no records before something is made of them.
        let records = match self.records {
            0 => String::new(),
            records => format!("{} records, ", short(records, 1_000, &["", "k", "M", "G", "T"])),
        };
        format!(
            "{bar} {finished}/{tasks} tasks, {done}/{} stages, {records}{} {}",
            self.stages.len(),
            short(self.bytes, 1_024, &["B", "KiB", "MiB", "GiB", "TiB"]),
            now.unwrap_or_default(),
        )
        .trim_end()
        .to_owned()
    }
}

/// A number in three digits or so.
pub fn short(number: u64, step: u64, units: &[&str]) -> String {
    let mut scale = 1;
    let mut unit = 0;
    while number / scale >= step && unit + 1 < units.len() {
        scale *= step;
        unit += 1;
    }
    let unit_text = units.get(unit).copied().unwrap_or_default();
    let blank = if unit_text.len() > 1 || unit_text == "B" { " " } else { "" };
    let whole = number / scale;
    if unit == 0 || whole >= 10 {
        return format!("{whole}{blank}{unit_text}");
    }
    let tenth = number % scale * 10 / scale;
    format!("{whole}.{tenth}{blank}{unit_text}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use firesteel_common::id::{TaskId, WorkerId};
    use firesteel_common::task::TaskMetrics;

    fn task() -> TaskId {
        TaskId { app: Default::default(), stage: StageId(0), partition: 0, attempt: 0 }
    }

    #[test]
    fn a_finished_stage_says_how_many_tasks_ran_again() {
        let mut progress = Progress::default();
        let stage = StageId(0);
        let name = "word count".to_owned();
        assert_eq!(progress.line(AppEvent::StageAdded { stage, name, tasks: 4, inputs: vec![] }), None);
        for cause in [StartCause::First, StartCause::Lost] {
            let event = AppEvent::TaskStarted { task: task(), worker: WorkerId(1), cause };
            assert_eq!(progress.line(event), None);
        }
        let line = progress.line(AppEvent::StageFinished { stage }).unwrap();
        assert_eq!(line, "stage-0 done: word count, 4 tasks, 1 run again");
    }

    #[test]
    fn the_bar_counts_tasks_stages_records_and_bytes() {
        let mut progress = Progress::default();
        assert_eq!(progress.bar(), "driver runs");
        let name = "map".to_owned();
        progress.line(AppEvent::StageAdded { stage: StageId(0), name, tasks: 4, inputs: vec![] });
        let metrics = TaskMetrics { input_records: 1_500, input_bytes: 3 << 20, ..TaskMetrics::default() };
        progress.line(AppEvent::TaskFinished { task: task(), metrics });
        assert_eq!(progress.bar(), "##........ 1/4 tasks, 0/1 stages, 1.5k records, 3.0 MiB map");
        progress.line(AppEvent::StageFinished { stage: StageId(0) });
        assert_eq!(progress.bar(), "########## 4/4 tasks, 1/1 stages, 1.5k records, 3.0 MiB");
    }

    #[test]
    fn numbers_are_short() {
        let units = ["", "k", "M"];
        for (number, text) in
            [(0, "0"), (999, "999"), (1_000, "1.0k"), (12_345, "12k"), (5_000_000_000, "5000M")]
        {
            assert_eq!(short(number, 1_000, &units), text);
        }
    }
}
