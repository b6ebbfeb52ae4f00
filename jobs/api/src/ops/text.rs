//! Text files: blocks of whole lines as they lie in the file, and single lines.
//!
//! A file is cut into splits without looking at it. A line belongs to the split in which it begins: a split
//! therefore skips the line that began before it, and reads the end of its last line beyond its own end. Each
//! line is read once. What is read is checked to be UTF-8, block by block, while it is still in the cache.

use crate::files::{FileInfo, OpenFile};
use crate::operator::{Excerpt, Flow, MORE, Operator, places, sealed};
use crate::plan::{Needs, Parents, check_partitions};
use crate::simd::ascii;
use crate::task::Task;
use firesteel_common::{Error, ErrorCode, Result};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

sealed! { TextBlocks, TextLines }

/// Bytes of a split.
pub const SPLIT_BYTES: u64 = 64 * 1024 * 1024;
/// Bytes of a block, about: it ends with a line.
const BLOCK_BYTES: usize = 64 * 1024;
/// How much is read at once to find the end of a last line.
const TAIL_BYTES: u64 = 64 * 1024;

/// A part of a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TextSplit {
    /// The file.
    pub path: String,
    /// Its first byte.
    pub start: u64,
    /// The byte after its last; `u64::MAX` for all there is.
    pub end: u64,
}

impl TextSplit {
    /// Small parts of it.
    fn excerpt(&self) -> Option<Excerpt<Self>> {
        if self.end == u64::MAX {
            return None;
        }
        let (places, share) = places(self.start, self.end, 1)?;
        let place = |(start, end)| Self { path: self.path.clone(), start, end };
        Some(Excerpt { places: places.into_iter().map(place).collect(), share })
    }
}

/// Cuts files into splits of at most [`SPLIT_BYTES`], and into at least `at_least` of them where they allow
/// it.
///
/// # Errors
/// `TOO_LARGE` if that makes too many.
pub fn cut(files: &[FileInfo], at_least: u64) -> Result<Vec<TextSplit>> {
    check_partitions(at_least)?;
    let total: u64 = files.iter().map(|file| file.bytes).sum();
    let goal = total.div_ceil(at_least.max(1)).clamp(1, SPLIT_BYTES);
    let parts = |file: &FileInfo| if file.splittable { file.bytes.div_ceil(goal) } else { 1 };
    check_partitions(files.iter().map(parts).sum())?;
    let mut splits = Vec::new();
    for file in files {
        if !file.splittable {
            splits.push(TextSplit { path: file.path.clone(), start: 0, end: u64::MAX });
            continue;
        }
        let count = parts(file);
        let at = |part: u64| (u128::from(file.bytes) * u128::from(part) / u128::from(count)) as u64;
        splits.extend((0..count).map(|part| TextSplit {
            path: file.path.clone(),
            start: at(part),
            end: at(part + 1),
        }));
    }
    if splits.is_empty()
        && let Some(file) = files.first()
    {
        // All files are empty, and a dataset has at least one partition.
        splits.push(TextSplit { path: file.path.clone(), start: 0, end: 0 });
    }
    Ok(splits)
}

/// What ends a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LineEnd {
    /// A line feed, a carriage return, or both in this order: as in Spark.
    Any,
    /// A line feed alone.
    Feed,
}

impl LineEnd {
    /// Where the first end of a line begins.
    fn find(self, bytes: &[u8]) -> Option<usize> {
        match self {
            LineEnd::Any => memchr::memchr2(b'\n', b'\r', bytes),
            LineEnd::Feed => memchr::memchr(b'\n', bytes),
        }
    }

    /// The start of the line after the first end of a line.
    fn next_line(self, bytes: &[u8]) -> Option<usize> {
        let end = self.find(bytes)?;
        Some(end + if bytes[end..].starts_with(b"\r\n") { 2 } else { 1 })
    }

    /// The start of the line after the last end of a line.
    fn last_line(self, bytes: &[u8]) -> Option<usize> {
        let end = match self {
            LineEnd::Any => memchr::memrchr2(b'\n', b'\r', bytes),
            LineEnd::Feed => memchr::memrchr(b'\n', bytes),
        };
        end.map(|end| end + 1)
    }
}

/// Text in blocks of whole lines.
#[derive(Clone, Serialize, Deserialize)]
pub struct TextBlocks {
    /// What ends a line.
    pub line_end: LineEnd,
    /// Driver only: the splits.
    #[serde(skip)]
    pub splits: Arc<Vec<TextSplit>>,
}

impl<'s> Operator<'s> for TextBlocks {
    type Item = &'s str;
    type Split = TextSplit;

    fn splits(&self) -> Result<Vec<TextSplit>> {
        Ok(self.splits.to_vec())
    }

    fn describe(&self, _split: &TextSplit, _needs: &mut Needs) -> Result<()> {
        Ok(())
    }

    fn parents(&self, _parents: &mut Parents<'s>) {}

    fn excerpt(&self, split: &TextSplit) -> Option<Excerpt<TextSplit>> {
        split.excerpt()
    }

    fn run<S>(&self, task: &Task<'s>, split: &TextSplit, sink: &mut S) -> Result<Flow>
    where
        S: FnMut(&'s str) -> Flow,
    {
        let (text, tail, offset) = read_split(task, split, self.line_end)?;
        task.add_metrics(|metrics| metrics.input_bytes += (text.len() + tail.len()) as u64);
        let mut at = 0;
        while at < text.len() {
            let len = block_len(&text[at..], self.line_end);
            task.check_cancelled()?;
            let flow = sink(checked(&text[at..at + len], split, offset + at as u64)?);
            if flow.is_break() {
                return Ok(flow);
            }
            at += len;
        }
        if tail.is_empty() {
            return Ok(MORE);
        }
        Ok(sink(checked(tail, split, offset + text.len() as u64)?))
    }
}

/// How long the next block is: whole lines, and more than [`BLOCK_BYTES`] only if one line is.
fn block_len(text: &[u8], line_end: LineEnd) -> usize {
    if text.len() <= BLOCK_BYTES {
        return text.len();
    }
    if let Some(len) = line_end.last_line(&text[..BLOCK_BYTES]) {
        // A feed that follows a return belongs to it.
        let pair = text[..len].ends_with(b"\r") && text[len] == b'\n' && line_end == LineEnd::Any;
        return len + usize::from(pair);
    }
    line_end.next_line(&text[BLOCK_BYTES..]).map_or(text.len(), |len| BLOCK_BYTES + len)
}

fn checked<'s>(bytes: &'s [u8], split: &TextSplit, offset: u64) -> Result<&'s str> {
    if let Some(text) = ascii(bytes) {
        return Ok(text);
    }
    std::str::from_utf8(bytes).map_err(|cause| {
        let at = offset + cause.valid_up_to() as u64;
        Error::new(ErrorCode::InputNotReadable, format!("{}: byte {at} is not UTF-8", split.path))
            .with_help("convert the file to UTF-8")
    })
}

/// The lines that begin in a split: those that end in it, the last one if it ends beyond, and the offset of
/// the first.
fn read_split<'s>(
    task: &Task<'s>,
    split: &TextSplit,
    line_end: LineEnd,
) -> Result<(&'s [u8], &'s [u8], u64)> {
    let file = task.host().open_file(&split.path)?;
    let from = split.start.saturating_sub(1);
    let bytes = task.hold(file.read(from, split.end - from)?);
    // The byte before the split says whether a line begins with it.
    let skipped = if split.start == 0 { Some(0) } else { line_end.next_line(bytes) };
    let Some(skipped) = skipped.filter(|skipped| *skipped < bytes.len()) else {
        return Ok((&[], &[], split.end));
    };
    let lines = &bytes[skipped..];
    let offset = from + skipped as u64;
    let whole = line_end.last_line(lines).unwrap_or(0);
    if whole == lines.len() || split.end == u64::MAX {
        return Ok((lines, &[], offset));
    }
    let rest = rest_of_line(&*file, split.end, line_end)?;
    if rest.is_empty() {
        return Ok((lines, &[], offset));
    }
    let last = [&lines[whole..], &rest].concat();
    Ok((&lines[..whole], task.hold(Arc::new(last)), offset))
}

/// What follows from an offset on until the line has ended, the (first byte of the) end included.
fn rest_of_line(file: &dyn OpenFile, mut from: u64, line_end: LineEnd) -> Result<Vec<u8>> {
    let mut rest = Vec::new();
    loop {
        let piece = file.read(from, TAIL_BYTES)?;
        let piece = (*piece).as_ref();
        if let Some(end) = line_end.find(piece) {
            rest.extend_from_slice(&piece[..=end]);
            return Ok(rest);
        }
        rest.extend_from_slice(piece);
        from += piece.len() as u64;
        if (piece.len() as u64) < TAIL_BYTES {
            return Ok(rest);
        }
    }
}

/// Text in lines, without their ends.
#[derive(Clone, Serialize, Deserialize)]
pub struct TextLines {
    /// The text in blocks.
    pub blocks: TextBlocks,
}

impl<'s> Operator<'s> for TextLines {
    type Item = &'s str;
    type Split = TextSplit;

    fn splits(&self) -> Result<Vec<TextSplit>> {
        self.blocks.splits()
    }

    fn describe(&self, _split: &TextSplit, _needs: &mut Needs) -> Result<()> {
        Ok(())
    }

    fn parents(&self, _parents: &mut Parents<'s>) {}

    fn excerpt(&self, split: &TextSplit) -> Option<Excerpt<TextSplit>> {
        split.excerpt()
    }

    fn run<S>(&self, task: &Task<'s>, split: &TextSplit, sink: &mut S) -> Result<Flow>
    where
        S: FnMut(&'s str) -> Flow,
    {
        let line_end = self.blocks.line_end;
        let mut lines = 0;
        let flow = self.blocks.run(task, split, &mut |block: &'s str| {
            let mut rest = block;
            while !rest.is_empty() {
                let end = line_end.find(rest.as_bytes()).unwrap_or(rest.len());
                let (line, after) = rest.split_at(end);
                rest = after.strip_prefix("\r\n").or_else(|| after.get(1..)).unwrap_or("");
                lines += 1;
                let flow = sink(line);
                if flow.is_break() {
                    return flow;
                }
            }
            MORE
        });
        task.add_metrics(|metrics| metrics.input_records += lines);
        flow
    }
}
