//! Every decoder as a function of bytes, in one table. Each takes whatever comes: it panics only if something
//! is wrong.

mod machines;
mod messages;
mod stored;
mod texts;

pub(crate) use messages::greetings;

use crate::mutate::Rng;

/// Something that takes bytes from others.
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// Takes an input; a panic is a finding.
    pub run: fn(&[u8]),
    /// Inputs that mean something, to be changed.
    pub seeds: fn(&mut Rng) -> Vec<Vec<u8>>,
    /// Bytes of memory that any input may cost.
    pub base: usize,
    /// Beside them, so many for each byte of the input.
    pub times: usize,
}

impl Target {
    /// How many bytes of memory an input of this length may cost.
    pub fn bound(&self, len: usize) -> usize {
        self.base + self.times * len
    }
}

/// Every target, by name.
pub fn all() -> Vec<Target> {
    let mut all = messages::targets();
    all.extend(stored::targets());
    all.extend(texts::targets());
    all.extend(machines::targets());
    all.sort_by_key(|target| target.name);
    all
}

/// The inputs of a target that are kept in the project.
///
/// # Errors
/// If they cannot be read.
pub fn corpus(name: &str) -> std::io::Result<Vec<Vec<u8>>> {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    if !dir.is_dir() {
        return Ok(Vec::new());
    }
    let mut paths: Vec<_> =
        std::fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    paths.sort();
    paths.into_iter().map(std::fs::read).collect()
}
