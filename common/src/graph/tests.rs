//! The rules of the graph: what may be added, and what each task then reads.

use super::{
    JobGraph, OutputOrder, ReadPattern, ReadRange, StageInput, StageKind, StageSpec, TaskCode, TaskSpec,
};
use crate::Payload;
use crate::error::ErrorCode;
use crate::id::StageId;

pub(crate) fn stage(id: u32, kind: StageKind, tasks: usize, inputs: Vec<(u32, ReadPattern)>) -> StageSpec {
    let input = |(stage, read)| StageInput { stage: StageId(stage), read, unless_cached: None };
    StageSpec {
        id: StageId(id),
        name: format!("s{id}"),
        kind,
        code: TaskCode::Sql,
        payload: Payload::empty(),
        tasks: vec![TaskSpec::default(); tasks],
        inputs: inputs.into_iter().map(input).collect(),
        order: OutputOrder::Ordered,
    }
}

const MAP: StageKind = StageKind::ShuffleMap { reducers: 3 };

fn range(reducers: std::ops::Range<u32>, maps: std::ops::Range<u32>) -> ReadRange {
    ReadRange { reducers, maps }
}

#[test]
fn a_stage_is_added_once_and_never_changes() {
    let mut graph = JobGraph::default();
    let first = stage(0, MAP, 2, vec![]);
    let second = stage(1, StageKind::Result, 3, vec![(0, ReadPattern::SameIndex)]);
    graph.extend(vec![first.clone(), second.clone()]).unwrap();
    graph.extend(vec![second.clone(), first]).unwrap();
    assert_eq!(graph.stages().count(), 2);
    let error = graph.extend(vec![stage(2, MAP, 1, vec![]), stage(1, MAP, 3, vec![])]).unwrap_err();
    assert_eq!(error.code, ErrorCode::GraphInvalid);
    assert_eq!(graph.get(StageId(1)), Some(&second));
    assert_eq!(graph.get(StageId(2)), None, "nothing is added if anything is wrong");
}

#[test]
fn a_stage_that_comes_twice_at_once_is_the_same_both_times() {
    let first = stage(0, MAP, 3, vec![]);
    let second = stage(1, MAP, 3, vec![(0, ReadPattern::SameIndex)]);
    let mut graph = JobGraph::default();
    // Otherwise the first would read the second, which reads the first.
    let reads_back = stage(0, MAP, 3, vec![(1, ReadPattern::SameIndex)]);
    let error = graph.extend(vec![first.clone(), second.clone(), reads_back]).unwrap_err();
    assert_eq!(error.code, ErrorCode::GraphInvalid);
    assert_eq!(graph.stages().count(), 0);
    graph.extend(vec![first.clone(), second, first]).unwrap();
    assert_eq!(graph.stages().count(), 2);
}

#[test]
fn a_stage_that_breaks_a_rule_is_refused() {
    let same = || ReadPattern::SameIndex;
    let per_task = |ranges: Vec<Vec<ReadRange>>| ReadPattern::PerTask(ranges);
    let cases = [
        ("no task", stage(1, MAP, 0, vec![])),
        ("no reducer", stage(1, StageKind::ShuffleMap { reducers: 0 }, 1, vec![])),
        ("an unknown input", stage(1, MAP, 1, vec![(5, same())])),
        ("itself", stage(1, MAP, 1, vec![(1, same())])),
        ("a result stage", stage(1, MAP, 1, vec![(9, same())])),
        ("too many tasks for its input", stage(1, MAP, 4, vec![(0, same())])),
        ("a range for each task", stage(1, MAP, 2, vec![(0, per_task(vec![vec![]]))])),
        ("reducers that are there", stage(1, MAP, 1, vec![(0, per_task(vec![vec![range(2..4, 0..1)]]))])),
    ];
    let mut graph = JobGraph::default();
    graph.extend(vec![stage(0, MAP, 2, vec![]), stage(9, StageKind::Result, 1, vec![])]).unwrap();
    for (what, stage) in cases {
        assert_eq!(graph.extend(vec![stage]).unwrap_err().code, ErrorCode::GraphInvalid, "{what}");
    }
    let unordered = vec![stage(4, MAP, 1, vec![(3, same())]), stage(3, MAP, 1, vec![])];
    assert!(graph.extend(unordered).is_err(), "parents come first");
    let fits = per_task(vec![vec![range(0..3, 0..u32::MAX)], vec![]]);
    graph.extend(vec![stage(1, MAP, 2, vec![(0, fits), (0, ReadPattern::Everything)])]).unwrap();
}

#[test]
fn read_patterns_are_rectangles() {
    let input = |read| StageInput { stage: StageId(0), read, unless_cached: None };
    assert_eq!(input(ReadPattern::SameIndex).ranges(2, 5, 9), [range(2..3, 0..5)]);
    assert_eq!(input(ReadPattern::Everything).ranges(2, 5, 9), [range(0..9, 0..5)]);
    let reads = vec![vec![], vec![range(1..2, 3..u32::MAX), range(4..6, 7..9)]];
    let per_task = input(ReadPattern::PerTask(reads));
    assert_eq!(per_task.ranges(0, 5, 9), []);
    assert_eq!(per_task.ranges(1, 5, 9), [range(1..2, 3..5), range(4..6, 5..5)]);
    assert_eq!(per_task.ranges(7, 5, 9), []);
}

#[test]
fn a_graph_that_would_fill_the_master_is_refused_and_what_is_released_makes_room() {
    let wide = |id, tasks| stage(id, StageKind::ShuffleMap { reducers: 1 << 12 }, tasks, vec![]);
    let mut graph = JobGraph::default();
    graph.extend(vec![wide(0, 1 << 11), wide(1, 1 << 11)]).unwrap();
    let error = graph.extend(vec![wide(2, 1)]).unwrap_err();
    assert_eq!(error.code, ErrorCode::TooLarge);
    assert!(error.message.contains("segments") && graph.get(StageId(2)).is_none(), "{error}");
    graph.remove(StageId(0)).unwrap();
    graph.extend(vec![wide(2, 1)]).unwrap();
    let huge = stage(3, StageKind::ShuffleMap { reducers: u32::MAX }, 1 << 10, vec![]);
    assert_eq!(graph.extend(vec![huge]).unwrap_err().code, ErrorCode::TooLarge);
    let mut heavy = stage(4, StageKind::Result, 1, vec![]);
    heavy.payload = Payload::from(vec![0; (256 << 20) + 1]);
    assert_eq!(graph.extend(vec![heavy]).unwrap_err().code, ErrorCode::TooLarge);
    let many = stage(5, StageKind::Result, (1 << 20) + 1, vec![]);
    assert_eq!(graph.extend(vec![many]).unwrap_err().code, ErrorCode::GraphInvalid);
}
