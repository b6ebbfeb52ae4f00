//! Batches from segments: decoded where the segments lie, without blocking the runtime that asks for them.
//!
//! Not here: waiting for segments that are not there yet; `TaskIo::read_input` does that inside of itself.

use super::ARROW_STREAM;
use crate::errors::{arrow_failed, external};
use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::buffer::Buffer;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::ipc::reader::StreamDecoder;
use datafusion::common::Result as DfResult;
use datafusion::error::DataFusionError;
use datafusion::physical_plan::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use firesteel_common::block::Encoding;
use firesteel_common::task::{Segment, SegmentStream, TaskIo};
use firesteel_common::{Error, ErrorCode};
use futures_util::stream;
use parking_lot::Mutex;
use prost::bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;

/// Where a [`super::ShuffleReadExec`] gets its rows.
pub(crate) trait BatchSource: Send + Sync {
    /// The rows of an input, with `schema`.
    fn open(&self, input: usize, schema: SchemaRef) -> DfResult<SendableRecordBatchStream>;
}

/// The inputs of a running task.
pub(crate) struct TaskSource(Arc<Turns>);

/// A task's I/O serves one thread at a time, while a plan may read several inputs at once: they take turns.
struct Turns {
    io: Arc<dyn TaskIo>,
    turn: Mutex<()>,
}

impl TaskSource {
    /// The inputs of the task behind `io`.
    pub(crate) fn new(io: Arc<dyn TaskIo>) -> Self {
        Self(Arc::new(Turns { io, turn: Mutex::new(()) }))
    }
}

impl BatchSource for TaskSource {
    fn open(&self, input: usize, schema: SchemaRef) -> DfResult<SendableRecordBatchStream> {
        let reader = InputReader {
            turns: self.0.clone(),
            input,
            segments: None,
            ready: VecDeque::new(),
            schema: schema.clone(),
        };
        let batches = stream::try_unfold(reader, |mut reader| async move {
            if let Some(batch) = reader.ready.pop_front() {
                return Ok(Some((batch, reader)));
            }
            let (batch, reader) = tokio::task::spawn_blocking(move || reader.advance())
                .await
                .map_err(|cause| DataFusionError::ExecutionJoin(Box::new(cause)))?
                .map_err(external)?;
            Ok(batch.map(|batch| (batch, reader)))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, batches)))
    }
}

/// One input of a task while it is read.
struct InputReader {
    turns: Arc<Turns>,
    input: usize,
    segments: Option<Box<dyn SegmentStream>>,
    ready: VecDeque<RecordBatch>,
    schema: SchemaRef,
}

impl InputReader {
    /// Decodes segments until there is a batch; waits for segments, so it runs on a thread that may block.
    fn advance(mut self) -> Result<(Option<RecordBatch>, Self), Error> {
        loop {
            if let Some(batch) = self.ready.pop_front() {
                return Ok((Some(batch), self));
            }
            match self.next_segment()? {
                Some(segment) => self.ready = decode(&segment, &self.schema)?.into(),
                None => return Ok((None, self)),
            }
        }
    }

    fn next_segment(&mut self) -> Result<Option<Segment>, Error> {
        let _turn = self.turns.turn.lock();
        let segments = match &mut self.segments {
            Some(segments) => segments,
            None => self.segments.insert(self.turns.io.read_input(self.input)?),
        };
        segments.next()
    }
}

/// A segment that keeps its payload in place for as long as a buffer borrows from it.
struct Payload(Segment);

impl AsRef<[u8]> for Payload {
    fn as_ref(&self) -> &[u8] {
        self.0.payload()
    }
}

/// The batches of a segment, whose columns lie in the segment itself.
pub(crate) fn decode(segment: &Segment, schema: &SchemaRef) -> Result<Vec<RecordBatch>, Error> {
    if segment.header.type_tag != ARROW_STREAM || segment.header.encoding != Encoding::Plain {
        let what = format!("the segment of map {} holds no Arrow stream", segment.map);
        return Err(Error::new(ErrorCode::BlockCorrupt, what));
    }
    let batches = decode_stream(Buffer::from(Bytes::from_owner(Payload(segment.clone()))), schema)?;
    let rows: u64 = batches.iter().map(|batch| batch.num_rows() as u64).sum();
    if rows != segment.header.records {
        let what = format!("the segment of map {} has {rows} rows instead of the promised", segment.map);
        return Err(Error::new(ErrorCode::BlockCorrupt, format!("{what} {}", segment.header.records)));
    }
    Ok(batches)
}

/// The batches of an Arrow IPC stream that lies in `buffer`.
pub(crate) fn decode_stream(mut buffer: Buffer, schema: &SchemaRef) -> Result<Vec<RecordBatch>, Error> {
    let mut decoder = StreamDecoder::new();
    let mut batches = Vec::new();
    while !buffer.is_empty() {
        if let Some(batch) = decoder.decode(&mut buffer).map_err(arrow_failed)? {
            batches.push(as_planned(batch, schema)?);
        }
    }
    decoder.finish().map_err(arrow_failed)?;
    Ok(batches)
}

/// The same columns under the schema of the plan, which may know more of nullability and metadata.
fn as_planned(batch: RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, Error> {
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), batch.columns().to_vec(), &options)
        .map_err(arrow_failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::StreamWriter;
    use datafusion::arrow::array::{Array, Int64Array, StringViewArray};
    use datafusion::arrow::buffer::MutableBuffer;
    use datafusion::arrow::datatypes::{DataType, Field, Schema};
    use firesteel_common::block::{ALIGNMENT, HEADER_LEN, SegmentHeader};

    struct Aligned(Buffer);

    impl AsRef<[u8]> for Aligned {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }

    fn segment(payload: &[u8], tag: u64, records: u64) -> Segment {
        let header = SegmentHeader::seal(Encoding::Plain, tag, payload.len() as u64, records, payload);
        let mut bytes = MutableBuffer::new(payload.len() + HEADER_LEN);
        bytes.extend_from_slice(&header.encode());
        bytes.extend_from_slice(payload);
        Segment::new(0, 0, header, Arc::new(Aligned(bytes.into())), HEADER_LEN)
    }

    fn rows() -> RecordBatch {
        let fields = vec![Field::new("n", DataType::Int64, true), Field::new("s", DataType::Utf8View, true)];
        let numbers = Int64Array::from_iter((0..1000).map(|n| (n % 7 != 0).then_some(n)));
        let texts =
            StringViewArray::from_iter((0..1000).map(|n| Some(format!("a text of some length, {n}"))));
        RecordBatch::try_new(Arc::new(Schema::new(fields)), vec![Arc::new(numbers), Arc::new(texts)]).unwrap()
    }

    #[test]
    fn columns_lie_in_their_segment_and_outlive_it() {
        let rows = rows();
        let mut stream = StreamWriter::new(&rows.schema()).unwrap();
        stream.push(rows.clone()).unwrap();
        let (count, bytes) = stream.finish().unwrap();
        assert_eq!(count, 1000);
        let segment = segment(&bytes, ARROW_STREAM, count);
        let place = segment.payload().as_ptr_range();
        let batches = decode(&segment, &rows.schema()).unwrap();
        drop(segment);
        assert_eq!(batches, [rows]);
        for column in batches[0].columns() {
            for buffer in column.to_data().buffers() {
                assert!(place.contains(&buffer.as_ptr()), "a buffer was copied");
                assert_eq!(buffer.as_ptr() as usize % ALIGNMENT, 0);
            }
        }
    }

    #[test]
    fn other_segments_are_refused() {
        let schema = rows().schema();
        let other = decode(&segment(b"whatever", 7, 1), &schema).unwrap_err();
        assert_eq!(other.code, ErrorCode::BlockCorrupt);
        let cut = &bytes_of(&rows())[..200];
        for (bytes, records) in
            [(cut, 0), (cut, 1000), (&bytes_of(&rows())[..], 999), (b"no stream at all".as_ref(), 0)]
        {
            assert!(decode(&segment(bytes, ARROW_STREAM, records), &schema).is_err(), "{records}");
        }
    }

    fn bytes_of(rows: &RecordBatch) -> Vec<u8> {
        let mut stream = StreamWriter::new(&rows.schema()).unwrap();
        stream.push(rows.clone()).unwrap();
        stream.finish().unwrap().1
    }
}
