//! Reports on their way to the worker: those that are finished while one message is being sent travel
//! together in the next one.

use firesteel_common::protocol::executor::FromExecutor;
use firesteel_common::task::TaskReport;
use firesteel_net::fds::FdSender;
use parking_lot::Mutex;

/// The most reports of one message, so that no frame grows without bound.
const BATCH_MAX: usize = 256;

/// Reports that are not sent yet.
#[derive(Default)]
pub struct Reports {
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    reports: Vec<TaskReport>,
    sending: bool,
}

impl Reports {
    /// Sends a report, or leaves it to the thread that is sending now.
    pub fn push(&self, worker: &FdSender, report: TaskReport) {
        let mut queue = self.queue.lock();
        queue.reports.push(report);
        if queue.sending {
            return;
        }
        queue.sending = true;
        while !queue.reports.is_empty() {
            let rest = queue.reports.len().min(BATCH_MAX);
            let rest = queue.reports.split_off(rest);
            let batch = std::mem::replace(&mut queue.reports, rest);
            drop(queue);
            if let Err(error) = worker.send(&FromExecutor::Finished(batch), None) {
                // The socket is closed: the reader notices it too and ends the process.
                tracing::debug!("reporting tasks: {error}");
            }
            queue = self.queue.lock();
        }
        queue.sending = false;
    }
}
