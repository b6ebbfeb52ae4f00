//! Faults planted in a real cluster (`docs/faults.md`), and what they cost, counted from the event log.

use firesteel_common::error::{Error, Result};
use firesteel_common::event::{AppEvent, LoggedEvent, LossReason, StartCause};
use firesteel_common::id::WorkerId;
use std::path::{Path, PathBuf};

/// A fault that waits for its time; it happens once.
pub struct Token {
    file: PathBuf,
    fired: PathBuf,
}

impl Token {
    /// Plants a fault: at the `nth` passing of `point`, on that worker or any, `what` happens (`die`, `hang`,
    /// `refuse`, `corrupt`).
    ///
    /// # Errors
    /// If the token cannot be written.
    pub fn plant(dir: &Path, point: &str, nth: u32, worker: Option<WorkerId>, what: &str) -> Result<Self> {
        let place = worker.map(|worker| format!("@{worker}")).unwrap_or_default();
        let name = format!("{point}:{nth}{place}");
        let token = Self { file: dir.join(&name), fired: dir.join(format!("fired-{name}")) };
        // One of the same name may have fired before. Renamed into place, so that nobody reads half of it.
        let _ = std::fs::remove_file(&token.fired);
        let draft = dir.join(".draft");
        std::fs::write(&draft, what)
            .and_then(|()| std::fs::rename(&draft, &token.file))
            .map_err(|cause| Error::io("planting a fault", &cause))?;
        Ok(token)
    }

    /// Whether it has happened.
    pub fn fired(&self) -> bool {
        self.fired.exists()
    }

    /// Takes it back if it has not happened.
    pub fn withdraw(&self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

/// What an application lost, and what it did again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Attempts that were started although there had been one at the same partition.
    pub reran: u32,
    /// Running attempts and map outputs still needed that are gone.
    pub lost: u32,
}

impl Cost {
    /// Whether an event is one of those that are counted.
    pub fn counts(line: &LoggedEvent) -> bool {
        Self::of(std::slice::from_ref(line)) != Self::default()
    }

    /// Reads it from the event log.
    pub fn of(log: &[LoggedEvent]) -> Self {
        let mut cost = Self::default();
        for line in log {
            match &line.event {
                AppEvent::TaskStarted { cause, .. } => {
                    cost.reran += u32::from(!matches!(cause, StartCause::First | StartCause::Speculation));
                }
                AppEvent::TaskLost { reason, .. } => {
                    let harmless = matches!(reason, LossReason::Cancelled | LossReason::Superseded);
                    cost.lost += u32::from(!harmless);
                }
                AppEvent::OutputLost { .. } => cost.lost += 1,
                _ => {}
            }
        }
        cost
    }
}
