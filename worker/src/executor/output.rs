//! What a task writes: map outputs, and single segments for cached partitions and large results. All of it
//! goes into memory files with plain writes, so that nothing of them is ever mapped writable here. A map
//! output that outgrows the memory of its task goes on on disk.

use super::memory::Charge;
use super::spool::{Data, Sink, Written};
use firesteel_common::block::{
    ALIGNMENT, Encoding, HEADER_LEN, MapStatus, Sealing, SegmentHeader, SegmentStat, padding,
};
use firesteel_common::task::MapOutputWriter;
use firesteel_common::{Error, ErrorCode, Payload, Result};
use std::os::fd::OwnedFd;

/// Segments up to this size are gathered before they are written.
const GATHER_MAX: usize = 256 * 1024;
const ZEROS: [u8; ALIGNMENT] = [0; ALIGNMENT];

/// A file that segments are appended to.
struct SegmentFile {
    sink: Sink,
    gathered: Vec<u8>,
    /// The segment that is being written in parts.
    open: Option<Sealing>,
}

impl SegmentFile {
    fn create(name: &str, charge: Option<Charge>) -> Result<Self> {
        Ok(Self { sink: Sink::create(name, charge)?, gathered: Vec::new(), open: None })
    }

    fn append(&mut self, type_tag: u64, records: u64, payload: &[u8]) -> Result<SegmentStat> {
        if payload.len() > GATHER_MAX {
            // In parts: each is written while the checksum has it in the processor's cache.
            let mut whole = None;
            for part in payload.chunks(GATHER_MAX) {
                whole = self.append_part(type_tag, records, payload.len() as u64, part)?;
            }
            return whole.ok_or_else(too_short);
        }
        let header = SegmentHeader::seal(Encoding::Plain, type_tag, payload.len() as u64, records, payload);
        let head = header.encode();
        let tail = &ZEROS[..padding(payload.len())];
        if self.gathered.len() + HEADER_LEN + payload.len() + tail.len() <= GATHER_MAX {
            for part in [&head[..], payload, tail] {
                self.gathered.extend_from_slice(part);
            }
        } else {
            self.flush(&[&head, payload, tail])?;
        }
        Ok(SegmentStat { bytes: header.segment_len(), rows: records, checksum: header.checksum })
    }

    /// Writes what is gathered, then other parts.
    fn flush(&mut self, parts: &[&[u8]]) -> Result<()> {
        let mut all = vec![self.gathered.as_slice()];
        all.extend_from_slice(parts);
        self.sink.write(&all)?;
        self.gathered.clear();
        Ok(())
    }

    /// Appends a part of a segment; its index once it is whole. Its header is written last, into its place.
    fn append_part(
        &mut self,
        type_tag: u64,
        records: u64,
        len: u64,
        part: &[u8],
    ) -> Result<Option<SegmentStat>> {
        let mut sealing = match self.open.take() {
            Some(open) => open,
            None => {
                self.flush(&[])?;
                self.sink.leave_open::<HEADER_LEN>()?;
                SegmentHeader::seal_parts(type_tag, records, len)
            }
        };
        sealing.add(part)?;
        if sealing.left() > 0 {
            self.flush(&[part])?;
            self.open = Some(sealing);
            return Ok(None);
        }
        self.flush(&[part, &ZEROS[..padding(len as usize)]])?;
        let header = sealing.finish();
        self.sink.fill(&header.encode())?;
        Ok(Some(SegmentStat { bytes: header.segment_len(), rows: records, checksum: header.checksum }))
    }

    fn finish(mut self) -> Result<Written> {
        if self.open.is_some() {
            return Err(too_short());
        }
        self.flush(&[])?;
        self.sink.finish()
    }
}

fn too_short() -> Error {
    Error::new(ErrorCode::Internal, "a segment is shorter than was said of it")
}

/// A block of one segment: its file and its length.
pub fn single_segment(name: &str, type_tag: u64, records: u64, payload: &[u8]) -> Result<(OwnedFd, u64)> {
    let mut file = SegmentFile::create(name, None)?;
    let stat = file.append(type_tag, records, payload)?;
    match file.finish()?.data {
        Data::Memory(fd) => Ok((fd, stat.bytes)),
        Data::Disk(_) => Err(Error::new(ErrorCode::Internal, "a single segment went to disk")),
    }
}

/// What is told of an output that is complete.
pub type Finished = Box<dyn FnOnce(MapStatus, Written) + Send>;

/// The output of a map task while it is written.
pub struct MapOutput {
    file: SegmentFile,
    segments: Vec<SegmentStat>,
    reducers: usize,
    finished: Finished,
}

impl MapOutput {
    /// An empty output for so many reducers, for which `charge` grows (without one it stays in memory
    /// whatever happens); `finished` gets it when it is complete.
    pub fn create(reducers: u32, charge: Option<Charge>, finished: Finished) -> Result<Self> {
        let reducers = reducers as usize;
        let file = SegmentFile::create("firesteel-map-output", charge)?;
        Ok(Self { file, segments: Vec::with_capacity(reducers), reducers, finished })
    }

    fn check_room(&self) -> Result<()> {
        if self.segments.len() == self.reducers {
            let message = format!("a map task wrote more segments than its {} reducers", self.reducers);
            return Err(Error::new(ErrorCode::Internal, message));
        }
        Ok(())
    }
}

impl MapOutputWriter for MapOutput {
    fn append(&mut self, type_tag: u64, records: u64, payload: &[u8]) -> Result<()> {
        self.check_room()?;
        if self.file.open.is_some() {
            return Err(Error::new(ErrorCode::Internal, "a segment was begun inside of another"));
        }
        let empty = records == 0;
        let stat =
            if empty { SegmentStat::default() } else { self.file.append(type_tag, records, payload)? };
        self.segments.push(stat);
        Ok(())
    }

    fn append_part(&mut self, type_tag: u64, records: u64, len: u64, part: &[u8]) -> Result<()> {
        self.check_room()?;
        self.segments.extend(self.file.append_part(type_tag, records, len, part)?);
        Ok(())
    }

    fn finish(self: Box<Self>, statistics: Payload) -> Result<MapStatus> {
        let Self { file, mut segments, reducers, finished } = *self;
        segments.resize(reducers, SegmentStat::default());
        let status = MapStatus { segments, statistics };
        finished(status.clone(), file.finish()?);
        Ok(status)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
    use super::*;
    use crossbeam::channel::bounded;
    use std::fs::File;
    use std::io::{Read, Seek};

    #[test]
    fn segments_stand_where_the_index_says() {
        let (sender, receiver) = bounded(1);
        let finished = Box::new(move |status, written: Written| sender.send((status, written.data)).unwrap());
        let mut output = Box::new(MapOutput::create(7, None, finished).unwrap());
        let large = vec![3; 3 * GATHER_MAX + 5];
        output.append(1, 2, b"small").unwrap();
        output.append(1, 0, b"").unwrap();
        output.append(1, 9, &large).unwrap();
        output.append(1, 1, b"").unwrap();
        for part in large.chunks(GATHER_MAX - 1) {
            output.append_part(1, 4, large.len() as u64, part).unwrap();
        }
        output.append(1, 1, b"after parts").unwrap();
        let status = output.finish(Payload::from(&b"statistics"[..])).unwrap();
        let (given, Data::Memory(fd)) = receiver.recv().unwrap() else { panic!("it is not in memory") };
        assert_eq!(given, status);
        let mut bytes = Vec::new();
        let mut file = File::from(fd);
        file.rewind().unwrap();
        file.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes.len() as u64, status.bytes());
        let payloads: Vec<Option<&[u8]>> = (0..7)
            .map(|reducer| {
                let (start, len) = status.span(reducer..reducer + 1);
                let segment = &bytes[start as usize..][..len as usize];
                (len > 0).then(|| SegmentHeader::open(segment).unwrap().1)
            })
            .collect();
        assert_eq!(
            payloads,
            [
                Some(&b"small"[..]),
                None,
                Some(&large[..]),
                Some(&b""[..]),
                Some(&large),
                Some(&b"after parts"[..]),
                None
            ]
        );
    }
}
