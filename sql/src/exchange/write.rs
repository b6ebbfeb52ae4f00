//! Rows into the segments of a map output.
//!
//! Not here: the output itself, which the executor makes and seals.

use super::{ARROW_STREAM, BATCH_ROWS};
use crate::errors::{arrow_failed, failed};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute::BatchCoalescer;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::ipc::MetadataVersion;
use datafusion::arrow::ipc::reader::StreamReader;
use datafusion::arrow::ipc::writer::{IpcWriteOptions, StreamWriter as IpcWriter};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use datafusion::physical_plan::metrics::Time;
use datafusion::physical_plan::repartition::BatchPartitioner;
use datafusion::physical_plan::{Partitioning, SendableRecordBatchStream};
use firesteel_common::block::{ALIGNMENT, MapStatus};
use firesteel_common::task::TaskIo;
use firesteel_common::{Error, ErrorCode, Payload};
use futures_util::StreamExt;
use std::sync::Arc;

/// Writes batches as one Arrow IPC stream. Batches are coalesced first, which also drops what string views
/// refer to and no row uses.
pub(crate) struct StreamWriter {
    coalescer: Option<BatchCoalescer>,
    stream: IpcWriter<Vec<u8>>,
    rows: u64,
}

impl StreamWriter {
    /// A stream of batches with `schema`.
    pub(crate) fn new(schema: &SchemaRef) -> Result<Self, Error> {
        let options =
            IpcWriteOptions::try_new(ALIGNMENT, false, MetadataVersion::V5).map_err(arrow_failed)?;
        let stream = IpcWriter::try_new_with_options(Vec::new(), schema, options).map_err(arrow_failed)?;
        let columns = !schema.fields().is_empty();
        let coalescer = columns.then(|| BatchCoalescer::new(schema.clone(), BATCH_ROWS));
        Ok(Self { coalescer, stream, rows: 0 })
    }

    /// Adds rows.
    pub(crate) fn push(&mut self, batch: RecordBatch) -> Result<(), Error> {
        self.rows += batch.num_rows() as u64;
        match &mut self.coalescer {
            Some(coalescer) => coalescer.push_batch(batch).map_err(arrow_failed)?,
            None => self.stream.write(&batch).map_err(arrow_failed)?,
        }
        self.write_completed()
    }

    fn write_completed(&mut self) -> Result<(), Error> {
        while let Some(batch) = self.coalescer.as_mut().and_then(BatchCoalescer::next_completed_batch) {
            self.stream.write(&batch).map_err(arrow_failed)?;
        }
        Ok(())
    }

    /// Bytes that are encoded by now.
    pub(crate) fn bytes(&self) -> usize {
        self.stream.get_ref().len()
    }

    /// Ends the stream: how many rows it has, and its bytes.
    pub(crate) fn finish(mut self) -> Result<(u64, Vec<u8>), Error> {
        if let Some(coalescer) = &mut self.coalescer {
            coalescer.finish_buffered_batch().map_err(arrow_failed)?;
        }
        self.write_completed()?;
        Ok((self.rows, self.stream.into_inner().map_err(arrow_failed)?))
    }
}

/// The batches of an Arrow IPC stream, and their schema.
pub(crate) fn batches_of(stream: &[u8]) -> Result<(SchemaRef, Vec<RecordBatch>), Error> {
    let reader = StreamReader::try_new(stream, None).map_err(arrow_failed)?;
    let schema = reader.schema();
    let batches = reader.collect::<Result<Vec<_>, _>>().map_err(arrow_failed)?;
    Ok((schema, batches))
}

/// Where the rows of a map task go.
struct Buckets {
    partitioner: Option<BatchPartitioner>,
    writers: Vec<StreamWriter>,
    memory: MemoryReservation,
}

impl Buckets {
    fn new(
        schema: &SchemaRef,
        partitioning: Option<&Partitioning>,
        reducers: u32,
        pool: &Arc<dyn MemoryPool>,
    ) -> Result<Self, Error> {
        let partitioner = match partitioning {
            Some(partitioning) => Some(
                BatchPartitioner::try_new(partitioning.clone(), Time::new(), 0, 1)
                    .map_err(|cause| failed(&cause))?,
            ),
            None => None,
        };
        let writers = (0..reducers).map(|_| StreamWriter::new(schema)).collect::<Result<_, _>>()?;
        Ok(Self { partitioner, writers, memory: MemoryConsumer::new("map output").register(pool) })
    }

    fn push(&mut self, batch: RecordBatch) -> Result<(), Error> {
        match &mut self.partitioner {
            Some(partitioner) => {
                let parts = partitioner.partition_iter(batch).map_err(|cause| failed(&cause))?;
                for part in parts {
                    let (reducer, rows) = part.map_err(|cause| failed(&cause))?;
                    let writer = self.writers.get_mut(reducer).ok_or_else(no_such_reducer)?;
                    writer.push(rows)?;
                }
            }
            None => self.writers.first_mut().ok_or_else(no_such_reducer)?.push(batch)?,
        }
        // What is encoded cannot be given back, but operators that can spill must know of it.
        self.memory.resize(self.writers.iter().map(StreamWriter::bytes).sum());
        Ok(())
    }
}

fn no_such_reducer() -> Error {
    Error::new(ErrorCode::Internal, "a map task has a row for a reducer that its stage does not have")
}

/// Writes the rows of a map task: by `partitioning` to as many reducers as it has, or all to one.
pub(crate) async fn write_map_output(
    io: &dyn TaskIo,
    mut rows: SendableRecordBatchStream,
    partitioning: Option<&Partitioning>,
    pool: &Arc<dyn MemoryPool>,
) -> Result<MapStatus, Error> {
    let mut buckets = Buckets::new(&rows.schema(), partitioning, io.description().reducers, pool)?;
    while let Some(batch) = rows.next().await {
        buckets.push(batch.map_err(|cause| failed(&cause))?)?;
    }
    drop(rows);
    let mut output = io.map_output()?;
    for writer in buckets.writers {
        let (rows, bytes) = writer.finish()?;
        output.append(ARROW_STREAM, rows, &bytes)?;
    }
    output.finish(Payload::empty())
}
