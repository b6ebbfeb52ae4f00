//! A real plugin through the whole ABI: its object is loaded, its entry points run, and its tasks too, over a
//! runtime in this process.

#![expect(clippy::unwrap_used, reason = "tests")]

use super::Plugin;
use super::Writer;
use super::call::{Call, Side};
use firesteel::testing::LocalRunner;
use firesteel_common::id::{AppAttemptId, AppId, PluginHash};
use firesteel_common::plugin::{ArgType, Args};
use firesteel_common::task::{TaskIo, TaskMetrics};
use firesteel_common::{Error, ErrorCode, Payload};
use sha2::{Digest, Sha256};
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

const APP: AppAttemptId = AppAttemptId { app: AppId(1), attempt: 1 };

/// The object that Cargo has built for the development dependency.
fn object() -> PathBuf {
    let deps = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    [deps.join("libwordcount.so"), deps.parent().unwrap().join("libwordcount.so")]
        .into_iter()
        .find(|path| path.exists())
        .unwrap()
}

fn plugin() -> Arc<Plugin> {
    static PLUGIN: OnceLock<Arc<Plugin>> = OnceLock::new();
    let load = || {
        let path = object();
        let hash = PluginHash(Sha256::digest(std::fs::read(&path).unwrap()).into());
        Arc::new(Plugin::load(&path, hash).unwrap())
    };
    PLUGIN.get_or_init(load).clone()
}

fn run(entry: &str, args: &[(&str, &str)]) -> Result<Payload, Error> {
    run_beside(entry, args, |_| {})
}

/// Runs an entry point, and something else before each of its tasks.
fn run_beside(
    entry: &str,
    args: &[(&str, &str)],
    beside: impl Fn(&Arc<dyn TaskIo>) + Send + Sync + 'static,
) -> Result<Payload, Error> {
    let plugin = plugin();
    let engine = plugin.clone();
    let engine = Box::new(move |io| {
        beside(&io);
        engine.run_task(io)
    });
    let runner = LocalRunner::with_engine(2, engine);
    let args: Args = args.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let writer = Writer { app: APP, mark: String::new() };
    let answer = plugin.run_entry(writer, entry, &args, runner.clone());
    assert_eq!(runner.kept(), (0, 0), "outputs and blocks are released");
    answer
}

#[test]
fn the_descriptor_says_what_the_functions_are() {
    let plugin = plugin();
    let entry = plugin.descriptor().entry("wordcount").unwrap();
    assert_eq!(entry.doc, "Counts the words of a text.");
    assert_eq!(
        entry.usage(),
        "wordcount input=<text> [top=<a whole number that is not negative>] [output=<text>]"
    );
    assert_eq!(
        (entry.args[1].kind, entry.args[0].doc.as_str()),
        (ArgType::U64, "A file, a directory or a pattern.")
    );
    assert!(plugin.descriptor().rustc.starts_with("rustc "));
    let other = PluginHash([0; 32]);
    assert_eq!(Plugin::load(&object(), other).err().unwrap().code, ErrorCode::PluginInvalid);
}

#[test]
fn words_are_counted_in_plain_and_packed_files_and_saved_once() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    std::fs::create_dir(dir.path().join("in")).unwrap();
    std::fs::write(at("in/a.txt"), "to be or\nnot to be\r\n").unwrap();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all("to  see\tit\n".as_bytes()).unwrap();
    std::fs::write(at("in/b.gz"), packed.finish().unwrap()).unwrap();
    let answer = run("wordcount", &[("input", &at("in")), ("top", "2"), ("output", &at("out"))]).unwrap();
    let expected = r#"{"words":8,"distinct":6,"top":[["to",3],["be",1]]}"#;
    assert_eq!(std::str::from_utf8(&answer).unwrap(), expected);
    let mut lines = Vec::new();
    for part in 0..4 {
        let text = std::fs::read_to_string(at(&format!("out/part-{part:05}"))).unwrap();
        lines.extend(text.split_terminator('\n').map(str::to_owned));
    }
    lines.sort();
    assert_eq!(lines, ["be\t1", "be\r\t1", "not\t1", "or\t1", "see\tit\t1", "to\t3"]);
    assert!(dir.path().join("out/_SUCCESS").exists() && !dir.path().join("out/_temporary").exists());
    let again = run("wordcount", &[("input", &at("in")), ("output", &at("out"))]).unwrap_err();
    assert_eq!(again.code, ErrorCode::OutputExists);
    std::fs::write(at("in/c.txt"), b"fine\n\xff\n").unwrap();
    let broken = run("wordcount", &[("input", &at("in")), ("output", &at("other"))]).unwrap_err();
    assert_eq!(broken.code, ErrorCode::InputNotReadable);
    assert!(broken.message.contains("c.txt: byte 5"), "{broken}");
    assert!(!dir.path().join("other").exists(), "an output that was not committed is removed");
}

#[test]
fn failures_of_jobs_are_errors_with_their_place() {
    assert_eq!(&*run("empty_tasks", &[("count", "10")]).unwrap(), b"0");
    assert_eq!(run("fails", &[("how", "error")]).unwrap_err().code, ErrorCode::JobFailed);
    for how in ["panic", "task"] {
        let error = run("fails", &[("how", how)]).unwrap_err();
        assert_eq!(error.code, ErrorCode::Panicked);
        assert!(
            error.message.contains("it was asked to fail") && error.message.contains("lib.rs:"),
            "{error}"
        );
        assert!(!error.detail.is_empty(), "the backtrace is there");
    }
    assert_eq!(run("fails", &[]).unwrap_err().code, ErrorCode::BadArgument);
    assert_eq!(run("failes", &[]).unwrap_err().code, ErrorCode::EntryNotFound);
    let missing = run("wordcount", &[("input", "/nothing/here")]).unwrap_err();
    assert_eq!(missing.code, ErrorCode::InputNotReadable);
}

#[test]
fn a_run_is_read_back_frame_by_frame_and_ends_with_its_call() {
    let spills = |io: &Arc<dyn TaskIo>| {
        let spilled = || {
            let seen = AtomicU64::new(0);
            io.add_metrics(&|metrics: &mut TaskMetrics| seen.store(metrics.spilled_bytes, Relaxed));
            seen.load(Relaxed)
        };
        let before = spilled();
        let call = Call::new(Side::Task(io.clone()));
        let (one, other) = (call.spill_create().unwrap(), call.spill_create().unwrap());
        call.spill_write(one, &[7; 100_000]).unwrap();
        call.spill_write(other, b"other").unwrap();
        call.spill_write(one, b"the second frame").unwrap();
        let read = |run, from, max| call.spill_read(run, from, max).map(|read| (*read).as_ref().to_vec());
        assert_eq!(read(one, 0, u64::MAX).unwrap(), [7; 100_000]);
        assert_eq!(read(one, 99_990, 100).unwrap(), [7; 10], "the rest of its frame only");
        assert_eq!(read(one, 100_004, 6).unwrap(), b"second");
        assert_eq!(read(one, 100_016, 6).unwrap(), b"");
        assert_eq!(read(other, 0, 100).unwrap(), b"other");
        call.spill_drop(other);
        assert_eq!(read(other, 0, 100).unwrap_err().code, ErrorCode::Internal);
        assert_eq!(call.spill_write(other, b"x").unwrap_err().code, ErrorCode::Internal);
        assert_eq!(spilled() - before, 100_021, "bytes before packing");
        call.end(true).unwrap();
    };
    assert_eq!(&*run_beside("empty_tasks", &[("count", "4")], spills).unwrap(), b"0");
}

#[test]
fn a_packed_output_is_read_as_it_was_written() {
    use super::files::InputFile;
    use super::output::TaskOutput;
    use firesteel_common::id::{StageId, TaskId};

    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("out");
    let dir = dir.to_str().unwrap();
    let writer = Writer { app: APP, mark: String::new() };
    let lines = |from: u32| (from..from + 5_000).map(|n| format!("{n}\n")).collect::<String>();
    writer.prepare(dir).unwrap();
    let task = |attempt| TaskId { app: APP, stage: StageId(0), partition: 0, attempt };
    for attempt in [0, 1] {
        let mut file = TaskOutput::create(dir, "part-00000.gz", task(attempt)).unwrap();
        file.write(lines(0).as_bytes()).unwrap();
        file.write(lines(5_000).as_bytes()).unwrap();
        file.finish().unwrap();
    }
    writer.commit(dir, &[("part-00000.gz".to_owned(), 1)]).unwrap();
    let path = format!("{dir}/part-00000.gz");
    let packed = std::fs::read(&path).unwrap();
    assert!(packed.starts_with(&[0x1f, 0x8b]) && packed.len() < 30_000, "{}", packed.len());
    let file = InputFile::open(&path).unwrap();
    assert_eq!(file.read(0, u64::MAX).unwrap().as_ref(), [lines(0), lines(5_000)].concat().as_bytes());
}
