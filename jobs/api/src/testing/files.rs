//! The files of this machine, for the runtime in this process.

use crate::arena::Owner;
use crate::files::{FileInfo, Host, OpenFile, OutputFile, SpillFile};
use crate::testing::memory::{LocalSpill, Memory};
use firesteel_common::{Error, ErrorCode, Payload, Result};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where attempts write, inside an output directory.
const TEMPORARY: &str = "_temporary";

/// The host of a driver, or of one attempt at a task.
pub struct LocalHost {
    attempt: u32,
    /// Only tasks have memory, and spill.
    memory: Option<Arc<Memory>>,
}

impl LocalHost {
    /// That of a driver.
    pub const DRIVER: Self = Self { attempt: 0, memory: None };

    /// That of a task.
    pub fn of_task(attempt: u32, memory: Arc<Memory>) -> Self {
        Self { attempt, memory: Some(memory) }
    }
}

/// Where an attempt writes a file.
fn attempt_path(dir: &str, name: &str, attempt: u32) -> PathBuf {
    Path::new(dir).join(TEMPORARY).join(format!("{name}.{attempt}"))
}

fn not_readable(path: &str, cause: &std::io::Error) -> Error {
    Error::new(ErrorCode::InputNotReadable, format!("{path}: {cause}"))
}

impl Host for LocalHost {
    fn list_files(&self, path: &str) -> Result<Vec<FileInfo>> {
        let about = std::fs::metadata(path).map_err(|cause| not_readable(path, &cause))?;
        if !about.is_dir() {
            return Ok(vec![FileInfo { path: path.to_owned(), bytes: about.len(), splittable: true }]);
        }
        let mut files = Vec::new();
        for entry in std::fs::read_dir(path).map_err(|cause| not_readable(path, &cause))? {
            let entry = entry.map_err(|cause| not_readable(path, &cause))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.starts_with(['_', '.']) {
                files.extend(self.list_files(&entry.path().to_string_lossy())?);
            }
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(files)
    }

    fn open_file(&self, path: &str) -> Result<Box<dyn OpenFile>> {
        let file = std::fs::File::open(path).map_err(|cause| not_readable(path, &cause))?;
        Ok(Box::new(LocalFile { file, path: path.to_owned() }))
    }

    fn create_output(&self, dir: &str, name: &str) -> Result<Box<dyn OutputFile>> {
        if name.ends_with(".gz") {
            return Err(Error::new(ErrorCode::Unsupported, "the local runtime packs no files"));
        }
        let path = attempt_path(dir, name, self.attempt);
        let file = std::fs::File::create(&path).map_err(|cause| Error::io(path.display(), &cause))?;
        Ok(Box::new(LocalOutput(file)))
    }

    fn prepare_output(&self, dir: &str) -> Result<()> {
        std::fs::create_dir(dir)
            .map_err(|cause| Error::new(ErrorCode::OutputExists, format!("{dir}: {cause}")))?;
        std::fs::create_dir(Path::new(dir).join(TEMPORARY)).map_err(|cause| Error::io(dir, &cause))
    }

    fn commit_output(&self, dir: &str, winners: &[(String, u32)]) -> Result<()> {
        let failed = |cause| Error::io(dir, &cause);
        for (name, attempt) in winners {
            let target = Path::new(dir).join(name);
            std::fs::rename(attempt_path(dir, name, *attempt), target).map_err(failed)?;
        }
        std::fs::remove_dir_all(Path::new(dir).join(TEMPORARY)).map_err(failed)?;
        std::fs::write(Path::new(dir).join("_SUCCESS"), []).map_err(failed)
    }

    fn create_spill(&self) -> Result<Box<dyn SpillFile>> {
        let Some(memory) = &self.memory else {
            return Err(Error::new(ErrorCode::Unsupported, "a driver does not spill"));
        };
        Ok(Box::new(LocalSpill::new(memory.clone())))
    }

    fn query(&self, _text: &str) -> Result<Payload> {
        Err(Error::new(ErrorCode::Unsupported, "the local runtime has no SQL"))
    }

    fn log(&self, level: u32, text: &str) {
        eprintln!("[{level}] {text}");
    }
}

struct LocalFile {
    file: std::fs::File,
    path: String,
}

impl OpenFile for LocalFile {
    fn read(&self, from: u64, max: u64) -> Result<Owner> {
        let about = self.file.metadata().map_err(|cause| not_readable(&self.path, &cause))?;
        let mut bytes = vec![0; about.len().saturating_sub(from).min(max) as usize];
        self.file.read_exact_at(&mut bytes, from).map_err(|cause| not_readable(&self.path, &cause))?;
        Ok(Arc::new(bytes))
    }
}

struct LocalOutput(std::fs::File);

impl OutputFile for LocalOutput {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        std::io::Write::write_all(&mut self.0, bytes).map_err(|cause| Error::io("writing a file", &cause))
    }

    fn finish(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}
