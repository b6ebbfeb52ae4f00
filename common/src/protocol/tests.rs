//! What any peer may send: bytes that are a message come back as they were, all others are errors, and
//! neither costs more memory than its length allows.

use super::data::{BlockReply, BlockRequest, PluginReply, PluginRequest};
use super::driver::{FromDriver, ToDriver};
use super::executor::{FromExecutor, ToExecutor};
use super::hello::{GREETING_LEN, Greeting, Role, proof_text};
use super::worker::{FromWorker, MapPlace, Registration, ToMaster, ToWorker};
use super::{VERSION, codec};
use crate::block::tests::{any_app, any_block};
use crate::block::{MapStatus, SegmentStat, StorageLevel, StoredBlock};
use crate::error::{Error, ErrorCode};
use crate::graph::tests::stage;
use crate::graph::{ReadPattern, StageKind};
use crate::id::{Epoch, Incarnation, JobId, StageId, TaskId, WorkerId};
use crate::job::{JobEvent, JobSpec, Target};
use crate::task::{ResultValue, TaskMetrics, TaskOutcome, TaskReport};
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;

fn check<T: Serialize + DeserializeOwned + PartialEq + Debug>(message: &T) {
    let bytes = codec::encode(message).unwrap();
    assert_eq!(&codec::decode::<T>(&bytes).unwrap(), message);
    // Not one byte less or more.
    for len in [0, bytes.len() / 2, bytes.len().saturating_sub(1)] {
        if len < bytes.len() {
            assert_eq!(codec::decode::<T>(&bytes[..len]).unwrap_err().code, ErrorCode::Codec);
        }
    }
    let longer = [bytes.as_slice(), &[0]].concat();
    assert_eq!(codec::decode::<T>(&longer).unwrap_err().code, ErrorCode::Codec);
}

#[test]
fn the_bytes_of_messages_are_fixed() {
    // A change here is another protocol: VERSION must change with it.
    let cases = [
        (
            codec::encode(&PluginReply::Found { bytes: 258 }).unwrap(),
            "00000000".to_owned() + "0201000000000000",
        ),
        (codec::encode(&ToMaster::Heartbeat).unwrap(), "01000000".to_owned()),
        (codec::encode(&ToDriver::Attached { slots: 5 }).unwrap(), "0000000005000000".to_owned()),
        (codec::encode(&Some("a")).unwrap(), "01010000000000000061".to_owned()),
    ];
    for (bytes, expected) in cases {
        let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(text, expected);
    }
    assert_eq!(VERSION, 1);
}

#[test]
fn greetings_come_back_and_differ_by_side() {
    let app = crate::id::AppAttemptId { app: crate::id::AppId(9), attempt: 2 };
    for role in [Role::Master, Role::Worker, Role::Fetcher, Role::Driver(app), Role::Reader(app)] {
        let greeting = Greeting { version: VERSION, role, nonce: [7; 32] };
        assert_eq!(Greeting::decode(&greeting.encode()), Some(greeting));
        let other = Greeting { nonce: [8; 32], ..greeting };
        let texts = [
            proof_text(true, &greeting, &other),
            proof_text(false, &greeting, &other),
            proof_text(true, &other, &greeting),
        ];
        assert!(texts[0] != texts[1] && texts[0] != texts[2] && texts[1] != texts[2]);
    }
    assert_eq!(Greeting::decode(&[0; GREETING_LEN]), None);
}

/// Text that asks for as much as it can: lengths of all sizes between small numbers.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => any::<u8>().prop_map(|byte| vec![byte]),
        4 => (0..12_u32).prop_map(|number| number.to_le_bytes().to_vec()),
        2 => (0..40_u64).prop_map(|number| number.to_le_bytes().to_vec()),
        1 => (0..64_u32).prop_map(|bits| (1_u64 << bits).to_le_bytes().to_vec()),
        1 => Just(u64::MAX.to_le_bytes().to_vec()),
    ];
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

/// What decodes is what its bytes say; all else is a `CODEC` error.
fn try_all(bytes: &[u8]) {
    fn attempt<T: Serialize + DeserializeOwned>(bytes: &[u8]) {
        match codec::decode::<T>(bytes) {
            Ok(message) => drop(codec::encode(&message).unwrap()),
            Err(error) => assert_eq!(error.code, ErrorCode::Codec),
        }
    }
    attempt::<ToWorker>(bytes);
    attempt::<FromWorker>(bytes);
    attempt::<FromDriver>(bytes);
    attempt::<ToDriver>(bytes);
    attempt::<ToExecutor>(bytes);
    attempt::<FromExecutor>(bytes);
    attempt::<BlockRequest>(bytes);
    attempt::<BlockReply>(bytes);
    attempt::<PluginRequest>(bytes);
    attempt::<PluginReply>(bytes);
    attempt::<JobSpec>(bytes);
    attempt::<Vec<String>>(bytes);
}

#[test]
fn a_length_that_is_not_there_is_refused_before_it_is_allocated() {
    for bits in 8..64 {
        let claimed = (1_u64 << bits).to_le_bytes();
        for message in [claimed.to_vec(), [claimed.to_vec(), vec![1; 20]].concat()] {
            assert_eq!(codec::decode::<String>(&message).unwrap_err().code, ErrorCode::Codec);
            assert_eq!(codec::decode::<Vec<u64>>(&message).unwrap_err().code, ErrorCode::Codec);
            assert_eq!(codec::decode::<crate::Payload>(&message).unwrap_err().code, ErrorCode::Codec);
            try_all(&message);
        }
    }
}

#[test]
fn messages_of_every_size_fit_the_limit_of_their_size() {
    for len in [0, 100, 32 * 1024, 33 * 1024, 4 * 1024 * 1024, 5 * 1024 * 1024] {
        check(&crate::Payload::from(vec![3; len]));
    }
    // Elements that take more in memory than on the wire, up to the border of a limit.
    let names: Vec<String> = (0..4000).map(|number| (number % 7).to_string()).collect();
    check(&names);
    check(&vec![Some(true); 16_000]);
    check(&"é🦀".repeat(5000));
}

#[test]
fn a_message_beyond_the_longest_frame_is_refused_by_its_sender() {
    let message = crate::Payload::from(vec![0; codec::FRAME_LEN_MAX]);
    assert_eq!(codec::encode(&message).unwrap_err().code, ErrorCode::TooLarge);
}

fn any_status() -> impl Strategy<Value = MapStatus> {
    let stat = (any::<u64>(), any::<u64>(), any::<u64>());
    let stat = stat.prop_map(|(bytes, rows, checksum)| SegmentStat { bytes, rows, checksum });
    (prop::collection::vec(stat, 0..5), prop::collection::vec(any::<u8>(), 0..9))
        .prop_map(|(segments, statistics)| MapStatus { segments, statistics: statistics.into() })
}

fn any_task() -> impl Strategy<Value = TaskId> {
    (any_app(), any::<u32>(), any::<u32>(), any::<u32>()).prop_map(|(app, stage, partition, attempt)| {
        TaskId { app, stage: StageId(stage), partition, attempt }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn hostile_bytes_never_panic(bytes in hostile()) {
        try_all(&bytes);
    }

    #[test]
    fn random_greetings_never_panic(mut bytes in any::<[u8; GREETING_LEN]>(), magic in any::<bool>()) {
        if magic {
            bytes[..4].copy_from_slice(b"FShi");
        }
        let greeting = Greeting::decode(&bytes);
        prop_assert!(magic || greeting.is_none() || bytes.starts_with(b"FShi"));
    }

    #[test]
    fn reports_of_workers_come_back(task in any_task(), status in any_status(), block in any_block()) {
        let outcomes = [
            TaskOutcome::MapOutput(status.clone()),
            TaskOutcome::Result(ResultValue::Inline(b"value"[..].into())),
            TaskOutcome::Result(ResultValue::Block { worker: WorkerId(2), block, bytes: 64 }),
            TaskOutcome::Failed(Error::new(ErrorCode::Panicked, "at the disco").with_detail("trace")),
            TaskOutcome::Killed,
        ];
        let reports = outcomes.map(|outcome| TaskReport {
            task,
            outcome,
            metrics: TaskMetrics { run_us: 5, ..TaskMetrics::default() },
            accumulators: vec![],
            stored: vec![StoredBlock { block, level: StorageLevel::DiskOnly3 }],
        });
        let registration = Registration {
            worker: Some(WorkerId(1)),
            host: "host".into(),
            running: vec![task],
            outputs: vec![(task, status.clone())],
            ..Registration::default()
        };
        let place = MapPlace { worker: WorkerId(1), address: "127.0.0.1:1".into(), attempt: 1 };
        for message in [ToMaster::TasksFinished(reports.to_vec()), ToMaster::Register(registration)] {
            check(&FromWorker { epoch: Epoch(1), incarnation: Incarnation(2), message });
        }
        check(&FromExecutor::Finished(reports.to_vec()));
        let frames = vec![crate::block::Frame { plain_end: 9, stored_end: 7, checksum: 1 }];
        check(&FromExecutor::MapOutput { task, status: status.clone(), frames });
        check(&ToExecutor::InputsChanged { stage: task.stage, places: vec![(1, place)] });
        check(&BlockRequest { block, reducers: Some(1..9) });
        check(&BlockReply::Found { bytes: 9, segments: status, frames: vec![] });
    }

    #[test]
    fn what_drivers_say_comes_back(tasks in 1..5_usize, job in any::<u32>(), result in any::<bool>()) {
        let kind = if result { StageKind::Result } else { StageKind::ShuffleMap { reducers: 2 } };
        let stages = vec![stage(0, kind, tasks, vec![(3, ReadPattern::PerTask(vec![vec![]; tasks]))])];
        let targets = vec![Target::all(StageId(0)), Target { stage: StageId(1), partitions: Some(vec![4]) }];
        let spec = JobSpec {
            id: JobId(job),
            name: "é".into(),
            stages: stages.clone(),
            targets: targets.clone(),
            open: result,
            group: String::new(),
        };
        check(&FromDriver::Submit(spec.clone()));
        check(&FromDriver::Attach { stages: stages.clone(), jobs: vec![spec] });
        check(&FromDriver::Extend { job: JobId(job), stages, targets, open: true });
        check(&FromDriver::Finish(Err(Error::new(ErrorCode::JobFailed, "no"))));
        let statuses = vec![MapStatus::default(); tasks];
        let event = JobEvent::StageFinished { stage: StageId(0), statuses };
        check(&ToDriver::Job { job: JobId(job), event });
    }
}
