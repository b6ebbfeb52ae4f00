//! The input files of plugins: what a path means, and reading parts of files into buffers that are used
//! again.
//!
//! Files are read, not mapped: a file that is cut short while it is mapped kills its reader, and reading from
//! the page cache into warm memory costs a sixth of what a word count costs.

use firesteel::files::FileInfo;
use firesteel_common::{Error, ErrorCode, Result};
use flate2::read::MultiGzDecoder;
use parking_lot::Mutex;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// The most files behind one path.
const FILES_MAX: usize = 1 << 20;
/// Buffers that are kept for later reads, at most.
const POOL_BUFFERS: usize = 8;
/// Buffers of fewer bytes are not worth keeping.
const POOL_BYTES_MIN: usize = 1 << 20;
/// Buffers of more bytes are not kept.
const POOL_BYTES_MAX: usize = 128 << 20;

fn not_readable(path: &Path, cause: impl std::fmt::Display) -> Error {
    let error = Error::new(ErrorCode::InputNotReadable, format!("{}: {cause}", path.display()));
    if !path.is_absolute() {
        return error.with_help("give an absolute path: jobs run in a directory of their own");
    }
    error.with_help("the workers read it: it must be there, and readable, at this path on each of them")
}

/// Why a file cannot be read. What the disk or the system cannot do now is tried again, perhaps elsewhere; a
/// file that is not there, may not be read, or is damaged will be so every time.
fn unread(path: &Path, cause: &std::io::Error) -> Error {
    use std::io::ErrorKind::{InvalidInput, IsADirectory, NotADirectory, NotFound, PermissionDenied};
    let is_lasting =
        matches!(cause.kind(), NotFound | PermissionDenied | IsADirectory | NotADirectory | InvalidInput);
    match cause.raw_os_error() {
        Some(_) if !is_lasting => Error::io(format!("reading {}", path.display()), cause),
        _ => not_readable(path, cause),
    }
}

/// The files behind a text: paths, directories and patterns (`*`, `?`, `[a-z]`), separated by commas; sorted
/// by path within each.
///
/// # Errors
/// `INPUT_NOT_READABLE` if one of them means no file.
pub fn list(text: &str) -> Result<Vec<FileInfo>> {
    let mut files = Vec::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let path = Path::new(part.strip_prefix("file://").unwrap_or(part));
        let before = files.len();
        for found in expand(path)? {
            add(&found, true, &mut files)?;
        }
        if files.len() == before {
            let pattern = path.join("*");
            let help = format!("directories in it are not looked into; {} names theirs", pattern.display());
            let error = not_readable(path, "there is no file in it");
            return Err(if path.is_dir() {
                error.with_help(help)
            } else {
                not_readable(path, "there is no file")
            });
        }
    }
    if files.is_empty() {
        return Err(not_readable(Path::new(text), "it names no file"));
    }
    Ok(files)
}

/// Adds a file, or the files of a directory that are not hidden.
fn add(path: &Path, into_directory: bool, files: &mut Vec<FileInfo>) -> Result<()> {
    let about = path.metadata().map_err(|cause| unread(path, &cause))?;
    if about.is_dir() {
        if into_directory {
            for child in children(path)? {
                let hidden = child.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
                let ours = child.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"_"));
                if !hidden && !ours {
                    add(&child, false, files)?;
                }
            }
        }
        return Ok(());
    }
    // A driver beside the submitting command has that command's directory; executors have others.
    let path = std::path::absolute(path).map_err(|cause| not_readable(path, cause))?;
    let path = path.as_path();
    let Some(name) = path.to_str() else { return Err(not_readable(path, "its name is not UTF-8")) };
    if files.len() == FILES_MAX {
        return Err(not_readable(path, format!("there are more than {FILES_MAX} files")));
    }
    let splittable = about.is_file() && !is_gzip(path);
    files.push(FileInfo { path: name.to_owned(), bytes: about.len(), splittable });
    Ok(())
}

fn children(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = dir.read_dir().map_err(|cause| unread(dir, &cause))?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    let mut paths: Vec<PathBuf> = paths.collect::<Result<_, _>>().map_err(|cause| unread(dir, &cause))?;
    paths.sort();
    Ok(paths)
}

fn is_gzip(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "gz")
}

/// What a path with patterns means, part by part. A path that exists as it stands is no pattern.
fn expand(path: &Path) -> Result<Vec<PathBuf>> {
    let text = path.to_string_lossy();
    if !text.contains(['*', '?', '[']) || path.exists() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = vec![PathBuf::new()];
    for part in path.components() {
        let pattern = part.as_os_str().to_string_lossy();
        if !pattern.contains(['*', '?', '[']) {
            found.iter_mut().for_each(|path| path.push(part));
            found.retain(|path| path.exists());
            continue;
        }
        let mut next = Vec::new();
        for dir in found {
            let here = if dir.as_os_str().is_empty() { Path::new(".") } else { &dir };
            if !here.is_dir() {
                continue;
            }
            for child in children(here)? {
                let name =
                    child.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                let hidden = name.starts_with('.') && !pattern.starts_with('.');
                if !hidden && matches(pattern.as_bytes(), name.as_bytes()) {
                    next.push(dir.join(name));
                }
            }
        }
        found = next;
    }
    Ok(found)
}

/// Whether a name matches a pattern. The last star is tried again from one byte further on, so the time is
/// bounded by the product of the lengths.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut seen) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while seen < name.len() {
        match single(&pattern[at..], name[seen]) {
            Some(len) => (at, seen) = (at + len, seen + 1),
            None if pattern.get(at) == Some(&b'*') => {
                star = Some((at + 1, seen));
                at += 1;
            }
            None => {
                let Some((after, from)) = star else { return false };
                star = Some((after, from + 1));
                (at, seen) = (after, from + 1);
            }
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

/// How long the pattern's next element is, if it is one for a single byte and matches this one.
fn single(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern {
        [b'*', ..] | [] => None,
        [b'?', ..] => Some(1),
        [b'[', set @ ..] => {
            let end = set.iter().skip(1).position(|byte| *byte == b']')? + 1;
            let (negated, members) = match &set[..end] {
                [b'!' | b'^', members @ ..] => (true, members),
                members => (false, members),
            };
            (in_set(members, byte) != negated).then_some(end + 2)
        }
        [literal, ..] => (*literal == byte).then_some(1),
    }
}

fn in_set(mut members: &[u8], byte: u8) -> bool {
    loop {
        members = match members {
            [from, b'-', to, rest @ ..] => {
                if (*from..=*to).contains(&byte) {
                    return true;
                }
                rest
            }
            [one, rest @ ..] => {
                if *one == byte {
                    return true;
                }
                rest
            }
            [] => return false,
        };
    }
}

/// A file that is open for reading.
pub struct InputFile {
    path: PathBuf,
    file: File,
    /// What a compressed file unpacks to, once it was read.
    unpacked: Option<OnceLock<Arc<Vec<u8>>>>,
}

impl InputFile {
    /// Opens a file.
    ///
    /// # Errors
    /// `INPUT_NOT_READABLE`.
    pub fn open(path: &str) -> Result<Self> {
        let path = PathBuf::from(path);
        let file = File::open(&path).map_err(|cause| unread(&path, &cause))?;
        let unpacked = is_gzip(&path).then(OnceLock::new);
        Ok(Self { path, file, unpacked })
    }

    /// Bytes from an offset on, at most `max`; fewer only at the end of the file.
    ///
    /// # Errors
    /// `INPUT_NOT_READABLE`, also for a compressed file that is damaged; `IO` if the disk fails.
    pub fn read(&self, from: u64, max: u64) -> Result<Piece> {
        if let Some(unpacked) = &self.unpacked {
            let all = match unpacked.get() {
                Some(all) => all.clone(),
                None => {
                    let all = self.unpack()?;
                    unpacked.get_or_init(|| all).clone()
                }
            };
            let start = usize::try_from(from).unwrap_or(usize::MAX).min(all.len());
            let end = start + usize::try_from(max).unwrap_or(usize::MAX).min(all.len() - start);
            return Ok(Piece::Unpacked { all, start, end });
        }
        let len = self.file.metadata().map_err(|cause| unread(&self.path, &cause))?.len();
        let wanted = usize::try_from(len.saturating_sub(from).min(max))
            .map_err(|_| not_readable(&self.path, "a part of it does not fit memory"))?;
        let mut buffer = Buffer::of(wanted);
        let mut filled = 0;
        while filled < wanted {
            match self.file.read_at(&mut buffer.bytes[filled..wanted], from + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(cause) if cause.kind() == std::io::ErrorKind::Interrupted => {}
                Err(cause) => return Err(unread(&self.path, &cause)),
            }
        }
        buffer.len = filled;
        Ok(Piece::Read(buffer))
    }

    fn unpack(&self) -> Result<Arc<Vec<u8>>> {
        let mut bytes = Vec::new();
        MultiGzDecoder::new(&self.file)
            .read_to_end(&mut bytes)
            .map_err(|cause| unread(&self.path, &cause))?;
        Ok(Arc::new(bytes))
    }
}

/// A part of a file in memory.
pub enum Piece {
    /// Of a plain file.
    Read(Buffer),
    /// Of a compressed file.
    Unpacked {
        /// The whole file.
        all: Arc<Vec<u8>>,
        /// Where the part begins.
        start: usize,
        /// Where it ends.
        end: usize,
    },
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        match self {
            Piece::Read(buffer) => &buffer.bytes[..buffer.len],
            Piece::Unpacked { all, start, end } => &all[*start..*end],
        }
    }
}

/// Memory for a part of a file. Its pages stay warm: a fresh page costs as much as reading it.
#[derive(Default)]
pub struct Buffer {
    bytes: Vec<u8>,
    len: usize,
}

static POOL: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

impl Buffer {
    /// A buffer of at least `len` bytes; what stands in it is of no meaning.
    fn of(len: usize) -> Self {
        let mut pool = POOL.lock();
        let fitting = pool.iter().position(|bytes| len >= POOL_BYTES_MIN && bytes.len() >= len);
        if let Some(place) = fitting {
            return Self { bytes: pool.swap_remove(place), len: 0 };
        }
        drop(pool);
        let room = if len >= POOL_BYTES_MIN { len.next_multiple_of(POOL_BYTES_MIN) } else { len };
        Self { bytes: vec![0; room], len: 0 }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut pool = POOL.lock();
        if (POOL_BYTES_MIN..=POOL_BYTES_MAX).contains(&self.bytes.len()) && pool.len() < POOL_BUFFERS {
            pool.push(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use std::io::Write;

    #[test]
    fn a_relative_path_means_the_same_file_for_every_process() {
        let found = list("Cargo.toml").unwrap();
        assert!(Path::new(&found[0].path).is_absolute(), "{}", found[0].path);
        assert_eq!(found[0].path, list(&found[0].path).unwrap()[0].path);
    }

    #[test]
    fn patterns_match_as_in_a_shell() {
        for (pattern, name, expected) in [
            ("*", "", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbY", false),
            ("part-?????", "part-00012", true),
            ("part-?????", "part-0012", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[]]x", "]x", true),
            ("x[", "x[", false),
            ("*.gz", ".gz", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn what_cannot_be_read_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("below")).unwrap();
        let help = |path: &str| list(path).unwrap_err().help;
        let text = dir.path().to_str().unwrap();
        assert!(help(text).contains(&format!("{text}/* names theirs")), "{}", help(text));
        assert!(help(&format!("{text}/none")).contains("on each of them"));
        assert!(help("none").contains("absolute path"));
    }

    #[test]
    fn paths_directories_and_patterns_are_listed() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        std::fs::create_dir_all(dir.path().join("in/deep")).unwrap();
        for name in ["in/b.txt", "in/a.txt", "in/_SUCCESS", "in/.hidden", "in/deep/c.txt", "in/d.txt.gz"] {
            std::fs::write(dir.path().join(name), name).unwrap();
        }
        let names = |text: &str| -> Vec<(String, bool)> {
            let strip = |file: FileInfo| (file.path[at("").len()..].to_owned(), file.splittable);
            list(text).unwrap().into_iter().map(strip).collect()
        };
        let plain = |name: &str| (name.to_owned(), true);
        let all = [plain("in/a.txt"), plain("in/b.txt"), ("in/d.txt.gz".to_owned(), false)];
        assert_eq!(names(&at("in")), all);
        assert_eq!(names(&at("in/[ab].txt")), all[..2]);
        assert_eq!(names(&at("*/deep/*")), [plain("in/deep/c.txt")]);
        assert_eq!(
            names(&format!("{},{}", at("in/b.txt"), at("in/a.txt"))),
            [plain("in/b.txt"), plain("in/a.txt")]
        );
        for wrong in [at("nothing"), at("in/*.csv"), String::new(), "relative.txt".to_owned()] {
            assert_eq!(list(&wrong).unwrap_err().code, ErrorCode::InputNotReadable, "{wrong}");
        }
    }

    #[test]
    fn parts_of_files_are_read_packed_or_not() {
        let dir = tempfile::tempdir().unwrap();
        let text: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 251) as u8).collect();
        let plain = dir.path().join("plain");
        std::fs::write(&plain, &text).unwrap();
        let packed = dir.path().join("packed.gz");
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&text).unwrap();
        std::fs::write(&packed, encoder.finish().unwrap()).unwrap();
        for path in [plain, packed] {
            let file = InputFile::open(path.to_str().unwrap()).unwrap();
            for (from, max) in [(0_u64, u64::MAX), (5, 10), (2_999_990, 100), (4_000_000, 1), (0, 2_000_000)]
            {
                let end = from.saturating_add(max).min(3_000_000).max(from.min(3_000_000));
                let expected = &text[from.min(3_000_000) as usize..end as usize];
                assert!(file.read(from, max).unwrap().as_ref() == expected, "{from} {max}");
            }
        }
        let broken = dir.path().join("broken.gz");
        std::fs::write(&broken, "no gzip").unwrap();
        let error = InputFile::open(broken.to_str().unwrap()).unwrap().read(0, 1).err().unwrap();
        assert_eq!(error.code, ErrorCode::InputNotReadable);
    }

    #[test]
    fn a_failing_disk_is_tried_again_and_a_missing_file_is_not() {
        use rustix::io::Errno;
        let code = |errno: Errno| unread(Path::new("/a"), &errno.into()).code;
        for errno in [Errno::IO, Errno::STALE, Errno::MFILE, Errno::TIMEDOUT] {
            assert_eq!(code(errno), ErrorCode::Io, "{errno}");
        }
        for errno in [Errno::NOENT, Errno::ACCESS, Errno::PERM, Errno::ISDIR, Errno::NOTDIR] {
            assert_eq!(code(errno), ErrorCode::InputNotReadable, "{errno}");
        }
        let damaged = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
        assert_eq!(unread(Path::new("/a.gz"), &damaged).code, ErrorCode::InputNotReadable);
    }
}
