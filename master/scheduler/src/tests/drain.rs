//! A worker leaves: what it holds goes elsewhere, and nothing is computed again.

use super::check;
use super::script::{Script, Words, cached_block};
use firesteel_common::block::{BlockId, BlockKind};
use firesteel_common::id::StageId;
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

#[test]
fn cached_partitions_that_nobody_else_holds_move_too() {
    check(
        "worker w1; worker w2; client; attach; job cached result=1:2 want=1; finish 1/0 stored=0
         finish 1/1 stored=1; quiet; drain w2; moved w1 from w2 cached.1; close w2; dump",
        "worker-1: fetch cached 1 from worker-2
         worker-2: drained
         worker-2 is dropped
         log worker-2 lost: WorkerGone
         worker-1 0/2 slots used, drivers 0:
         app-1.1 runs on a client, attached
         stage-1 rests
         0: idle
         1: idle
         dataset-1 partition 0 on worker-1
         dataset-1 partition 1 on worker-1",
    );
}

#[test]
fn a_cached_partition_with_replicas_lies_on_the_next_worker_too() {
    check(
        "worker w1; worker w2; client; attach; job cached result=1:2 want=1; quiet
         finish 1/0 stored=0 twice; finish 1/1 stored=1; moved w2 from w1 cached.0; drain w1; dump",
        "worker-2: fetch cached 0 from worker-1
         app-1.1: job-0 result 1/0
         app-1.1: job-0 result 1/1
         app-1.1: job-0 finished
         worker-1: drained
         worker-1 0/2 slots used, drivers 0:
         worker-2 0/2 slots used, drivers 0:
         app-1.1 runs on a client, attached
         stage-1 rests
         0: idle
         1: idle
         dataset-1 partition 0 on worker-1 worker-2
         dataset-1 partition 1 on worker-2",
    );
}

impl Script {
    /// A worker has copied blocks, `moved W from V STAGE.PARTITION.ATTEMPT … cached.PARTITION …`, or could
    /// not (`failed`).
    pub(super) fn moved(&mut self, words: &Words<'_>) {
        let from = self.workers[words.0[2]].registration.worker.unwrap();
        let app = self.app;
        let blocks = words.0[3..].iter().filter(|word| **word != "failed").map(|word| {
            let block = match word.strip_prefix("cached.") {
                Some(partition) => cached_block(app, partition.parse().unwrap()),
                None => {
                    let ids: Vec<u32> = word.split('.').map(|id| id.parse().unwrap()).collect();
                    let (stage, partition, attempt) = (StageId(ids[0]), ids[1], ids[2]);
                    BlockId { app, kind: BlockKind::MapOutput { stage, partition, attempt } }
                }
            };
            (block, !words.has("failed"))
        });
        let message = ToMaster::BlocksCopied { app, from, blocks: blocks.collect() };
        self.say(words.0[0], message);
    }
}
