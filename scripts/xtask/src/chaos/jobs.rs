//! The jobs that faults are made in, each with its answer by a plain loop in this process.
//!
//! What the loops share with the jobs is only the input: the text lies in files, and the points and the web
//! are those that the jobs' documentation says they make.

use super::draw::Draw;
use super::plain;
use crate::{failed, nothing};
use clap::ValueEnum;
use firesteel_common::error::{Error, Result};
use firesteel_common::http::SubmitRequest;
use firesteel_tests::cluster::{Cluster, artifact};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Files of the text, each of them a map partition.
const FILES: u64 = 12;
/// How many of the most frequent words are compared.
const TOP: usize = 1000;
/// How far a sum may lie off one that was made in another order, relative to its size.
const NEAR: f64 = 1e-9;

/// A job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Kind {
    Wordcount,
    Sort,
    Pagerank,
    Kmeans,
}

impl Kind {
    /// Every one.
    pub const ALL: [Kind; 4] = [Kind::Wordcount, Kind::Sort, Kind::Pagerank, Kind::Kmeans];

    /// Its entry point, and so the name of its plugin.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Wordcount => "wordcount",
            Kind::Sort => "sort",
            Kind::Pagerank => "pagerank",
            Kind::Kmeans => "kmeans",
        }
    }
}

/// What is right.
enum Expected {
    Words(plain::Counts),
    Lines(Vec<String>),
    Ranks(Vec<f64>),
    Clusters(Vec<u64>, f64),
}

/// A job that can be submitted, and its right answer.
pub struct Job {
    /// Which.
    pub kind: Kind,
    /// How it is submitted; the sort writes into a directory of its own each time.
    request: SubmitRequest,
    expected: Expected,
    outputs: PathBuf,
    submitted: AtomicU64,
}

/// One submission of a job.
pub struct Run {
    /// How it is submitted.
    pub request: SubmitRequest,
    /// Where it writes, if it does.
    output: Option<PathBuf>,
}

impl Job {
    /// Makes a job of `size` thousandths of the usual size, and computes its answer.
    ///
    /// # Errors
    /// If its plugin was not built, or the cluster does not take it.
    pub fn make(cluster: &Cluster, kind: Kind, size: u64, draw: &mut Draw) -> Result<Self> {
        Self::of(cluster, kind, (size, FILES), draw)
    }

    /// The same, with an input of so many files, each of them a map partition.
    ///
    /// # Errors
    /// As [`Job::make`].
    pub fn of(cluster: &Cluster, kind: Kind, (size, files): (u64, u64), draw: &mut Draw) -> Result<Self> {
        let seed = draw.any();
        let outputs = cluster.scratch().join(format!("{}-{seed}", kind.name()));
        std::fs::create_dir_all(&outputs).map_err(|cause| Error::io("making a directory", &cause))?;
        let plugin = cluster.upload(&artifact(&format!("lib{}.so", kind.name()))?)?.hash;
        let (args, expected) = prepare(kind, (size, files), &outputs, seed)?;
        let args = args.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let request = SubmitRequest {
            name: format!("chaos-{}", kind.name()),
            plugin: Some(plugin),
            entry: kind.name().to_owned(),
            args,
            ..nothing()
        };
        Ok(Self { kind, request, expected, outputs, submitted: Default::default() })
    }

    /// A submission.
    pub fn run(&self) -> Run {
        let number = self.submitted.fetch_add(1, Ordering::Relaxed) + 1;
        let mut request = self.request.clone();
        let output = (self.kind == Kind::Sort).then(|| self.outputs.join(number.to_string()));
        if let Some(output) = &output {
            request.args.insert("output".into(), output.display().to_string());
        }
        Run { request, output }
    }

    /// Compares the answer of a submission, and what it wrote; what it wrote is removed.
    ///
    /// # Errors
    /// Says what differs.
    pub fn check(&self, run: &Run, answer: &[u8]) -> Result<()> {
        let answer: serde_json::Value = serde_json::from_slice(answer)
            .map_err(|cause| failed(format!("the answer of {} is no JSON: {cause}", self.kind.name())))?;
        let wrong = match &self.expected {
            Expected::Words(counts) => plain::words_differ(counts, &answer),
            Expected::Lines(lines) => {
                let wrong = plain::lines_differ(lines, &answer, run.output.as_deref());
                run.output.as_deref().map(std::fs::remove_dir_all);
                wrong
            }
            Expected::Ranks(ranks) => plain::ranks_differ(ranks, &answer, NEAR),
            Expected::Clusters(sizes, cost) => plain::clusters_differ(sizes, *cost, &answer, NEAR),
        };
        match wrong {
            Some(what) => Err(failed(format!("{}: {what}", self.kind.name()))),
            None => Ok(()),
        }
    }
}

type Args = Vec<(&'static str, String)>;

/// The input of a job, and its answer.
fn prepare(kind: Kind, (size, files): (u64, u64), dir: &Path, seed: u64) -> Result<(Args, Expected)> {
    let scaled = |usual: u64| (usual * size / 1000).max(100);
    match kind {
        Kind::Wordcount => {
            let input = dir.join("text");
            let counts = plain::write_words(&input, files, scaled(4_000_000), seed)?;
            let args = vec![("input", input.display().to_string()), ("top", TOP.to_string())];
            Ok((args, Expected::Words(counts.top(TOP))))
        }
        Kind::Sort => {
            let input = dir.join("lines");
            let lines = plain::write_lines(&input, files, scaled(600_000), seed)?;
            Ok((vec![("input", input.display().to_string())], Expected::Lines(lines)))
        }
        Kind::Pagerank => {
            let (pages, iterations) = (scaled(40_000), 6);
            let args = vec![("pages", pages.to_string()), ("iterations", iterations.to_string())];
            let args = [args, vec![("top", pages.to_string())]].concat();
            Ok((args, Expected::Ranks(plain::ranks(pages, iterations))))
        }
        Kind::Kmeans => {
            let (points, k, iterations) = (scaled(800_000), 8, 8);
            let args = vec![("points", points.to_string()), ("k", k.to_string())];
            let args = [args, vec![("iterations", iterations.to_string())]].concat();
            let (sizes, cost) = plain::clusters(points, k, iterations);
            Ok((args, Expected::Clusters(sizes, cost)))
        }
    }
}
