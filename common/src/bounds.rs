//! How long the texts may be that one process makes another keep: names, reasons, errors. Whoever takes a
//! message cuts them before anything else sees it. What is *not* here: how large a graph may be
//! ([`crate::graph`]) and how long a frame.

use crate::error::Error;
use crate::graph::StageSpec;
use crate::protocol::driver::FromDriver;
use crate::protocol::worker::{FromWorker, REFUSALS_MAX, ToMaster};
use crate::task::TaskOutcome;

/// The longest name of a stage, a job, a group, a host, in bytes.
pub const NAME_MAX: usize = 1024;
/// The longest message of an error, and the longest reason of anything, in bytes.
pub const MESSAGE_MAX: usize = 16 * 1024;
/// The longest detail of an error (a backtrace, the tail of a log), in bytes.
pub const DETAIL_MAX: usize = 64 * 1024;
/// What stands where a text was cut.
const CUT: &str = " … (cut)";

/// Cuts a text to at most `max` bytes, between two characters, and says so at its end.
pub fn cut(text: &mut String, max: usize) {
    if text.len() <= max {
        return;
    }
    text.truncate(text.floor_char_boundary(max.saturating_sub(CUT.len())));
    text.push_str(CUT);
}

/// Cuts the texts of an error.
pub fn cut_error(error: &mut Error) {
    cut(&mut error.message, MESSAGE_MAX);
    cut(&mut error.help, MESSAGE_MAX);
    cut(&mut error.detail, DETAIL_MAX);
}

impl FromDriver {
    /// Cuts the texts in it.
    pub fn cut_texts(&mut self) {
        match self {
            FromDriver::Attach { stages, jobs } => {
                cut_stages(stages);
                jobs.iter_mut().for_each(|job| {
                    cut(&mut job.name, NAME_MAX);
                    cut(&mut job.group, NAME_MAX);
                    cut_stages(&mut job.stages);
                });
            }
            FromDriver::AttachPart { stages } | FromDriver::Extend { stages, .. } => cut_stages(stages),
            FromDriver::Submit(job) => {
                cut(&mut job.name, NAME_MAX);
                cut(&mut job.group, NAME_MAX);
                cut_stages(&mut job.stages);
            }
            FromDriver::Cancel { reason, .. } => cut(reason, MESSAGE_MAX),
            FromDriver::CancelGroup { group, reason } => {
                cut(group, NAME_MAX);
                cut(reason, MESSAGE_MAX);
            }
            FromDriver::Finish(Err(error)) => cut_error(error),
            FromDriver::Finish(Ok(_)) | FromDriver::Release { .. } => {}
        }
    }
}

fn cut_stages(stages: &mut [StageSpec]) {
    stages.iter_mut().for_each(|stage| cut(&mut stage.name, NAME_MAX));
}

impl FromWorker {
    /// Cuts the texts in it.
    pub fn cut_texts(&mut self) {
        match &mut self.message {
            ToMaster::Register(registration) => {
                cut(&mut registration.host, NAME_MAX);
                cut(&mut registration.address, NAME_MAX);
            }
            ToMaster::TasksFinished(reports) => {
                for report in reports {
                    if let TaskOutcome::Failed(error) = &mut report.outcome {
                        cut_error(error);
                    }
                }
            }
            ToMaster::ExecutorLost { reason, .. } | ToMaster::DriverExited { reason, .. } => {
                cut(&mut reason.words, MESSAGE_MAX);
            }
            ToMaster::Output { source, .. } => cut(source, NAME_MAX),
            ToMaster::Refusals { at, refusals } => {
                cut(at, NAME_MAX);
                refusals.truncate(REFUSALS_MAX);
                for (from, why, _) in refusals {
                    cut(from, NAME_MAX);
                    cut(why, NAME_MAX);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorCode;
    use crate::graph::StageKind;
    use crate::graph::tests::stage;

    #[test]
    fn a_text_is_cut_between_characters_and_says_so() {
        let mut text = "日".repeat(1000);
        cut(&mut text, 100);
        assert!(text.len() <= 100 && text.len() > 90 && text.ends_with(CUT), "{text}");
        let mut short = "x".repeat(100);
        cut(&mut short, 100);
        assert_eq!(short, "x".repeat(100));
    }

    #[test]
    fn what_a_driver_calls_things_is_cut() {
        let mut long = stage(0, StageKind::Result, 1, vec![]);
        long.name = "n".repeat(16 << 20);
        let mut attach = FromDriver::AttachPart { stages: vec![long] };
        attach.cut_texts();
        let FromDriver::AttachPart { stages } = attach else { unreachable!() };
        assert_eq!(stages[0].name.len(), NAME_MAX);
        let error = Error::new(ErrorCode::JobFailed, "m".repeat(1 << 20)).with_detail("d".repeat(1 << 20));
        let mut finish = FromDriver::Finish(Err(error));
        finish.cut_texts();
        let FromDriver::Finish(Err(error)) = finish else { unreachable!() };
        assert_eq!((error.message.len(), error.detail.len()), (MESSAGE_MAX, DETAIL_MAX));
    }
}
