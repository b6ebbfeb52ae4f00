//! A worker leaves: what it holds goes elsewhere, and nothing is computed again.

use super::check;
use super::script::{Script, Words};
use firesteel_common::id::{StageId, TaskId};
use firesteel_common::protocol::worker::ToMaster;

const BEGIN: &str = "worker w1; worker w2; client; attach; job map=1:4:2 result=2:2<1 want=2";

fn story(rest: &str, expected: &str) {
    check(&format!("{BEGIN}; quiet; {rest}"), expected);
}

#[test]
fn outputs_of_a_worker_that_leaves_move_and_are_read_there() {
    story(
        "finish all; quiet; drain w2; moved w1 from w2 1.1.0 1.3.0; finish all; tick 100; close w2; empty",
        "worker-1: fetch 1/1.0 1/3.0 from worker-2
         worker-2: inputs of stage-1 1=worker-1.0 3=worker-1.0
         app-1.1: job-0 result 2/0
         app-1.1: job-0 result 2/1
         app-1.1: job-0 finished
         worker-2: drained
         worker-2 is dropped
         log worker-2 lost: WorkerGone
         empty false",
    );
}

#[test]
fn a_copy_that_fails_is_tried_again_and_then_left_behind() {
    story(
        "finish all; finish all; quiet; drain w2; moved w1 from w2 1.1.0 1.3.0 failed
         moved w1 from w2 1.1.0 1.3.0 failed; moved w1 from w2 1.1.0 1.3.0 failed",
        "worker-1: fetch 1/1.0 1/3.0 from worker-2
         worker-1: fetch 1/1.0 1/3.0 from worker-2
         worker-1: fetch 1/1.0 1/3.0 from worker-2
         worker-2: drained",
    );
}

#[test]
fn a_worker_that_leaves_gets_nothing_new() {
    check(
        "worker w1; worker w2; drain w2; client; attach; quiet; job result=1:4 want=1",
        "worker-1: launch 1/0.0 1/1.0 code 1",
    );
}

impl Script {
    /// A worker has copied outputs, `moved W from V STAGE.PARTITION.ATTEMPT …`, or could not (`failed`).
    pub(super) fn moved(&mut self, words: &Words<'_>) {
        let from = self.workers[words.0[2]].registration.worker.unwrap();
        let app = self.app;
        let outputs = words.0[3..].iter().filter(|word| **word != "failed").map(|word| {
            let ids: Vec<u32> = word.split('.').map(|id| id.parse().unwrap()).collect();
            let task = TaskId { app, stage: StageId(ids[0]), partition: ids[1], attempt: ids[2] };
            (task, !words.has("failed"))
        });
        let message = ToMaster::OutputsMoved { app, from, outputs: outputs.collect() };
        self.say(words.0[0], message);
    }
}
