//! From operators to stages: what the driver asks of a chain, and how that becomes a [`StageSpec`].

use crate::broadcast::{self, Out, Used};
use crate::code::{Code, TaskFn};
use crate::driver::Driver;
use crate::operator::Operator;
use crate::output::Output;
use crate::task::{Program, run_program};
use firesteel_common::graph::{
    CachedPartition, OutputOrder, ReadPattern, ReadRange, StageInput, StageKind, StageSpec, TaskCode,
    TaskSpec,
};
use firesteel_common::id::{DatasetId, StageId};
use firesteel_common::protocol::codec;
use firesteel_common::{Error, ErrorCode, Payload, Result};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The most partitions of a dataset. Each costs its driver and the master memory before anything runs.
pub const PARTITIONS_MAX: u64 = 1 << 20;

/// Refuses more partitions than there may be; to be asked before they are made.
///
/// # Errors
/// `TOO_LARGE`.
pub fn check_partitions(count: u64) -> Result<()> {
    if count <= PARTITIONS_MAX {
        return Ok(());
    }
    let message = format!("{count} partitions are more than the {PARTITIONS_MAX} that a dataset may have");
    Err(Error::new(ErrorCode::TooLarge, message).with_help("ask for fewer: a few for each slot are enough"))
}

/// How the records of a keyed dataset lie over its partitions. Equal partitioners put equal keys into
/// partitions of the same number.
#[derive(Clone, Debug)]
pub enum Partitioner {
    /// By [`crate::key::Digest::partition`].
    Hash(u32),
    /// By bounds that were sampled.
    Range(Arc<Ranges>),
    /// By a function of the job.
    Custom {
        /// Where its code lies in this process: the same code puts equal keys into the same partition.
        code: usize,
        /// How many partitions there are.
        partitions: u32,
    },
}

/// The ranges of keys of a sort.
#[derive(Debug)]
pub struct Ranges {
    /// The shuffle that they were sampled for.
    pub shuffle: StageId,
    /// The keys between the ranges, ascending, encoded one after the other.
    pub bounds: Payload,
    /// How many there are.
    pub partitions: u32,
    /// Whether the first partition has the greatest keys.
    pub descending: bool,
}

impl PartialEq for Partitioner {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Hash(a), Self::Hash(b)) => a == b,
            (Self::Range(a), Self::Range(b)) => a.shuffle == b.shuffle,
            (Self::Custom { code: a, partitions: n }, Self::Custom { code: b, partitions: m }) => {
                a == b && n == m
            }
            _ => false,
        }
    }
}

/// What one partition of a stage reads.
#[derive(Default)]
pub struct Needs {
    reads: BTreeMap<StageId, Read>,
    cached: Vec<CachedPartition>,
    under: Option<DatasetId>,
}

#[derive(Default, PartialEq)]
struct Read {
    reducers: Vec<Range<u32>>,
    unless_cached: Option<DatasetId>,
}

impl Needs {
    /// Reads what a shuffle wrote for a reducer.
    pub fn read(&mut self, shuffle: StageId, reducer: u32) {
        let under = self.under;
        let read =
            self.reads.entry(shuffle).or_insert_with(|| Read { reducers: Vec::new(), unless_cached: under });
        if read.unless_cached != under {
            read.unless_cached = None;
        }
        let range = reducer..reducer + 1;
        if !read.reducers.contains(&range) {
            read.reducers.push(range);
        }
    }

    /// Reads a cached partition; what `upstream` reads is needed only where it is not cached.
    ///
    /// # Errors
    /// What `upstream` fails with.
    pub fn cached(
        &mut self,
        partition: CachedPartition,
        upstream: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        if !self.cached.contains(&partition) {
            self.cached.push(partition);
        }
        let outer = self.under;
        self.under = Some(outer.unwrap_or(partition.dataset));
        let described = upstream(self);
        self.under = outer;
        described
    }
}

/// A stage that writes a shuffle, while somebody may still read it. Dropping the last handle frees its
/// output.
pub struct Shuffle<'s> {
    /// The stage.
    pub id: StageId,
    /// How many reducers it writes for.
    pub reducers: u32,
    driver: Arc<Driver>,
    plan: Box<dyn StagePlan<'s> + 's>,
    submitted: AtomicBool,
    /// The broadcast values that its stage was planned with: it may have to be computed again.
    uses: Mutex<Vec<Arc<Out>>>,
}

impl<'s> Shuffle<'s> {
    /// Plans a shuffle of what `op` gives, written by `output`. Nothing runs yet.
    pub fn new<Op, Out>(
        driver: &Arc<Driver>,
        name: &'static str,
        reducers: u32,
        op: Op,
        output: Out,
    ) -> Arc<Self>
    where
        Op: Operator<'s>,
        Out: Output<'s, Op::Item>,
    {
        let plan = Planned { name, op, output };
        let id = driver.new_stage();
        let driver = driver.clone();
        let (submitted, uses) = (AtomicBool::new(false), Mutex::default());
        Arc::new(Self { id, reducers, driver, plan: Box::new(plan), submitted, uses })
    }

    /// What it does, for people.
    pub fn label(&self) -> String {
        self.plan.label()
    }

    /// The shuffles that it reads directly.
    pub fn read(&self) -> Parents<'s> {
        let mut parents = Parents::default();
        self.plan.parents(&mut parents);
        parents
    }

    /// Whether the runtime knows the stage.
    pub fn is_submitted(&self) -> bool {
        self.submitted.load(Ordering::Acquire)
    }

    /// Remembers that the runtime knows the stage.
    pub fn mark_submitted(&self) {
        self.submitted.store(true, Ordering::Release);
    }
}

impl<'s> Shuffle<'s> {
    /// Takes the plan away. The shuffles that it reads are kept in `parents`, so that dropping it drops none.
    fn take_plan(&mut self, parents: &mut Vec<Arc<Self>>) {
        let plan: Box<dyn StagePlan<'s> + 's> = std::mem::replace(&mut self.plan, Box::new(Gone));
        let mut read = Parents::default();
        plan.parents(&mut read);
        parents.append(&mut read.shuffles);
    }
}

impl Drop for Shuffle<'_> {
    /// Lineages of loops are long, so the shuffles that nobody else holds are dropped in a loop, not each by
    /// the one that reads it.
    fn drop(&mut self) {
        if *self.submitted.get_mut() {
            self.driver.release(vec![self.id], Vec::new());
        }
        let mut parents = Vec::new();
        self.take_plan(&mut parents);
        while let Some(parent) = parents.pop() {
            if let Some(mut last) = Arc::into_inner(parent) {
                last.take_plan(&mut parents);
            }
        }
    }
}

/// The number of a cached dataset, while somebody may still read it. Dropping the last handle frees its
/// blocks.
pub struct Dataset {
    /// The dataset.
    pub id: DatasetId,
    driver: Arc<Driver>,
}

impl Dataset {
    /// A new dataset.
    pub fn new(driver: &Arc<Driver>) -> Arc<Self> {
        Arc::new(Self { id: driver.new_dataset(), driver: driver.clone() })
    }
}

impl Drop for Dataset {
    fn drop(&mut self) {
        self.driver.release(Vec::new(), vec![self.id]);
    }
}

/// A stage whose types are forgotten.
trait StagePlan<'s>: Send + Sync {
    fn label(&self) -> String;
    fn stage(&self, id: StageId, kind: StageKind, driver: &Driver) -> Result<Built>;
    fn parents(&self, parents: &mut Parents<'s>);
}

/// The plan of a shuffle that is being dropped.
struct Gone;

impl<'s> StagePlan<'s> for Gone {
    fn label(&self) -> String {
        String::new()
    }

    fn stage(&self, id: StageId, _kind: StageKind, _driver: &Driver) -> Result<Built> {
        Err(Error::new(ErrorCode::Internal, format!("{id} was planned after its last reader was gone")))
    }

    fn parents(&self, _parents: &mut Parents<'s>) {}
}

struct Planned<Op, Out> {
    name: &'static str,
    op: Op,
    output: Out,
}

impl<'s, Op: Operator<'s>, Out: Output<'s, Op::Item>> StagePlan<'s> for Planned<Op, Out> {
    fn label(&self) -> String {
        format!("{} <- {}", self.name, self.op.label())
    }

    fn stage(&self, id: StageId, kind: StageKind, driver: &Driver) -> Result<Built> {
        let program = Program { op: self.op.clone(), output: self.output.clone() };
        build_stage(driver, id, self.name, kind, &program)
    }

    fn parents(&self, parents: &mut Parents<'s>) {
        self.op.parents(parents);
    }
}

/// The shuffles that a chain reads directly.
#[derive(Default)]
pub struct Parents<'s> {
    shuffles: Vec<Arc<Shuffle<'s>>>,
}

impl<'s> Parents<'s> {
    /// Adds a shuffle.
    pub fn add(&mut self, shuffle: &Arc<Shuffle<'s>>) {
        if !self.shuffles.iter().any(|known| known.id == shuffle.id) {
            self.shuffles.push(shuffle.clone());
        }
    }

    /// The shuffles.
    pub fn into_shuffles(self) -> Vec<Arc<Shuffle<'s>>> {
        self.shuffles
    }

    /// All shuffles, through all generations, that the runtime does not know yet: parents first. Without
    /// recursion, since lineages of loops are long.
    pub fn unknown(self) -> Vec<Arc<Shuffle<'s>>> {
        let mut order: BTreeMap<StageId, Arc<Shuffle<'s>>> = BTreeMap::new();
        let mut open = self.shuffles;
        while let Some(shuffle) = open.pop() {
            if shuffle.is_submitted() || order.contains_key(&shuffle.id) {
                continue;
            }
            open.append(&mut shuffle.read().shuffles);
            order.insert(shuffle.id, shuffle);
        }
        // A shuffle is numbered when it is planned, and planned after those that it reads.
        order.into_values().collect()
    }
}

/// A stage, and the broadcast values that it uses.
pub type Built = (StageSpec, Vec<Arc<Out>>);

/// The stage of a shuffle. What it uses is added to `uses`, and held by it from now on.
///
/// # Errors
/// What the operators fail with.
pub fn shuffle_stage(shuffle: &Shuffle<'_>, uses: &mut Vec<Arc<Out>>) -> Result<StageSpec> {
    let kind = StageKind::ShuffleMap { reducers: shuffle.reducers };
    let (stage, used) = shuffle.plan.stage(shuffle.id, kind, &shuffle.driver)?;
    uses.extend(used.iter().cloned());
    *shuffle.uses.lock().unwrap_or_else(PoisonError::into_inner) = used;
    Ok(stage)
}

/// What all tasks of a stage are given: the code, the shuffles by the numbers of the inputs, the program.
#[derive(serde::Serialize, serde::Deserialize)]
pub struct StagePayload {
    /// Offset of the function that runs a task.
    pub code: u64,
    /// The stage behind each input.
    pub inputs: Vec<StageId>,
    /// The broadcast values that the program uses.
    pub broadcasts: Vec<Used>,
    /// Operators and output.
    pub program: Payload,
}

/// Makes a stage of a program.
///
/// # Errors
/// What the operators fail with, `TOO_LARGE` or `CODEC` if something cannot be encoded, `TOO_LARGE` if there
/// are too many partitions.
pub fn build_stage<'s, Op: Operator<'s>, Out: Output<'s, Op::Item>>(
    driver: &Driver,
    id: StageId,
    name: &str,
    kind: StageKind,
    program: &Program<Op, Out>,
) -> Result<Built> {
    let mut tasks = Vec::new();
    let mut needs = Vec::new();
    let splits = program.op.splits()?;
    check_partitions(splits.len() as u64)?;
    for split in splits {
        let mut need = Needs::default();
        program.op.describe(&split, &mut need)?;
        let payload = Payload::from(codec::encode(&split)?);
        tasks.push(TaskSpec { payload, preferred: Vec::new(), cached: std::mem::take(&mut need.cached) });
        needs.push(need.reads);
    }
    if tasks.is_empty() {
        return Err(Error::new(
            ErrorCode::Internal,
            format!("{name}: a dataset without partitions was planned"),
        ));
    }
    let (encoded, uses) = broadcast::used_by(|| codec::encode(program))?;
    let mut inputs = stage_inputs(&needs);
    inputs.extend(uses.iter().map(|out| StageInput {
        stage: out.shuffle.id,
        read: ReadPattern::Everything,
        unless_cached: None,
    }));
    let code = codec::encode(&Code::<TaskFn<'s>>::of(run_program::<Op, Out>))?;
    let payload = StagePayload {
        code: codec::decode(&code)?,
        inputs: inputs.iter().map(|input| input.stage).collect(),
        broadcasts: uses.iter().map(|out| out.used()).collect(),
        program: encoded.into(),
    };
    let stage = StageSpec {
        id,
        name: name.to_owned(),
        kind,
        code: TaskCode::Plugin(driver.plugin()),
        payload: codec::encode(&payload)?.into(),
        tasks,
        inputs,
        order: OutputOrder::Ordered,
    };
    Ok((stage, uses))
}

/// Merges what the tasks read into the inputs of their stage.
fn stage_inputs(needs: &[BTreeMap<StageId, Read>]) -> Vec<StageInput> {
    let mut unless: BTreeMap<StageId, Option<DatasetId>> = BTreeMap::new();
    for (stage, read) in needs.iter().flatten() {
        let entry = unless.entry(*stage).or_insert(read.unless_cached);
        if *entry != read.unless_cached {
            *entry = None;
        }
    }
    let read_of = |stage: StageId| {
        let ranges = needs.iter().map(|need| need.get(&stage).map_or(&[][..], |read| &read.reducers[..]));
        let same = ranges
            .clone()
            .enumerate()
            .all(|(task, ranges)| matches!(ranges, [one] if one.start as usize == task && one.len() == 1));
        if same {
            return ReadPattern::SameIndex;
        }
        let every = |range: &Range<u32>| ReadRange { reducers: range.clone(), maps: 0..u32::MAX };
        ReadPattern::PerTask(ranges.map(|ranges| ranges.iter().map(every).collect()).collect())
    };
    unless
        .into_iter()
        .map(|(stage, unless_cached)| StageInput { stage, read: read_of(stage), unless_cached })
        .collect()
}
