//! The data of the workloads: files of a directory, which are made there when they are missing, by the
//! generator of the hand-written programs or by one of our own.

use crate::{cargo, text};
use firesteel_common::error::{Error, Result};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// Bytes of a text for each row.
const TEXT_BYTES: u64 = 100;
/// Links of a web for each row, and the share of pages in it.
const LINKS: u64 = 2;
const PAGES: u64 = 5;

/// A directory of data.
pub struct Data {
    dir: PathBuf,
    generator: Option<PathBuf>,
    rows: u64,
    /// Keeps a directory that nobody asked for.
    _temporary: Option<TempDir>,
}

/// Random numbers that follow from a seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mixed = (self.0 ^ (self.0 >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed ^ (mixed >> 29)
    }

    fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u64
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

fn failed(cause: &std::io::Error) -> Error {
    Error::io("writing data", cause)
}

impl Data {
    /// Data in `dir`, or in a directory of its own that vanishes.
    ///
    /// # Errors
    /// If a directory cannot be made.
    pub fn open(dir: Option<&Path>, baseline: Option<&Path>, rows: u64) -> Result<Self> {
        let temporary = match dir {
            Some(_) => None,
            None => Some(tempfile::tempdir().map_err(|cause| Error::io("making a directory", &cause))?),
        };
        let given = dir.or(temporary.as_ref().map(TempDir::path)).unwrap_or(Path::new("."));
        let dir = std::path::absolute(given).map_err(|cause| Error::io("finding the data", &cause))?;
        std::fs::create_dir_all(&dir).map_err(|cause| Error::io("making a directory", &cause))?;
        let generator = baseline.map(|dir| dir.join("gen")).filter(|program| program.is_file());
        Ok(Self { dir, generator, rows: rows.max(1_000), _temporary: temporary })
    }

    /// An argument with the paths of files in it.
    pub fn value(&self, argument: &str) -> String {
        match argument.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
            Some(name) => self.dir.join(name).display().to_string(),
            None => argument.to_owned(),
        }
    }

    /// Makes what is missing, and reads everything once, so that every run finds it in the page cache.
    ///
    /// # Errors
    /// If something cannot be made or read.
    pub fn provide(&self, files: &[&str]) -> Result<()> {
        for name in files {
            let path = self.dir.join(name);
            if !path.is_file() {
                eprintln!("making {}", path.display());
                let part = self.dir.join(format!("{name}.part"));
                self.make(name, &part)?;
                std::fs::rename(&part, &path).map_err(|cause| failed(&cause))?;
            }
            let mut file = File::open(&path).map_err(|cause| Error::io("reading data", &cause))?;
            std::io::copy(&mut file, &mut std::io::sink())
                .map_err(|cause| Error::io("reading data", &cause))?;
        }
        Ok(())
    }

    fn make(&self, name: &str, path: &Path) -> Result<()> {
        let rows = self.rows;
        match (&self.generator, name) {
            (_, "few.txt") => std::fs::write(path, "to be or not to be\n").map_err(|cause| failed(&cause)),
            (_, "text.txt") => text::collect(path, rows * TEXT_BYTES, true).map(drop),
            (Some(program), _) => {
                let scale = (rows / PAGES).max(2).ilog2().to_string();
                let (rows, links) = (rows.to_string(), (rows * LINKS).to_string());
                let args: &[&str] = match name {
                    "points.txt" => &["8", "16", "42"],
                    "tera.bin" => &["7"],
                    "pairs_a.txt" => &[&rows, "1"],
                    "pairs_b.txt" => &[&rows, "2"],
                    _ => &[&links, "3"],
                };
                let (kind, first) = match name {
                    "points.txt" => ("points", &rows),
                    "tera.bin" => ("tera", &rows),
                    "rmat.txt" => ("rmat", &scale),
                    _ => ("pairs", &rows),
                };
                cargo::output(Command::new(program).arg(kind).arg(path).arg(first).args(args)).map(drop)
            }
            (None, _) => {
                let file = File::create(path).map_err(|cause| failed(&cause))?;
                let mut out = BufWriter::with_capacity(1 << 20, file);
                write(name, rows, &mut out).and_then(|()| out.flush()).map_err(|cause| failed(&cause))
            }
        }
    }
}

/// Writes data of our own.
fn write(name: &str, rows: u64, out: &mut impl Write) -> std::io::Result<()> {
    let mut random = Random(name.bytes().map(u64::from).sum());
    match name {
        "points.txt" => {
            let centres: Vec<f64> = (0..128).map(|_| random.unit() * 20.0 - 10.0).collect();
            for _ in 0..rows {
                let cluster = random.below(16) as usize * 8;
                let point: Vec<f64> =
                    centres[cluster..cluster + 8].iter().map(|x| x + random.unit() * 4.0 - 2.0).collect();
                let above = point.iter().sum::<f64>() + random.unit() * 20.0 > 10.0;
                write!(out, "{}", if above { 1 } else { -1 })?;
                point.iter().try_for_each(|x| write!(out, " {x:.4}"))?;
                writeln!(out)?;
            }
        }
        "tera.bin" => {
            for _ in 0..rows {
                let mut record = [b'.'; 100];
                record[..8].copy_from_slice(&random.next().to_le_bytes());
                record[8..16].copy_from_slice(&random.next().to_le_bytes());
                out.write_all(&record)?;
            }
        }
        "rmat.txt" => {
            // Low numbers are linked to more often, and no link is there twice: each page's targets ascend.
            let pages = (rows / PAGES).max(2);
            for page in 0..pages {
                let mut target = 0;
                for _ in 0..PAGES * LINKS {
                    target += 1 + (random.unit().powi(8) * pages as f64 / 8.0) as u64;
                    if target < pages {
                        writeln!(out, "{page} {target}")?;
                    }
                }
            }
        }
        _ => {
            for _ in 0..rows {
                writeln!(out, "{} {}", random.below(rows), random.next() >> 40)?;
            }
        }
    }
    Ok(())
}
