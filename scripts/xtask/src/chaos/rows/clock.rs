//! Row 16: the wall clock of the master jumps, forwards, backwards, and to and fro. Needs libfaketime, which
//! moves only that process's clock, and only the wall clock: deadlines are measured by another one.

use super::Trial;
use crate::chaos::jobs::Kind;
use crate::chaos::lab::{Finding, Lab, ensure};
use firesteel_common::error::{Error, Result};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// Where distributions put it.
const PLACES: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib64/faketime/libfaketimeMT.so.1",
];
/// What the clock shows, one after the other, relative to the truth.
const JUMPS: [&str; 10] = ["+1h", "-1h", "+288s", "-288s", "+288s", "-288s", "+288s", "-288s", "+1h", "+0s"];

pub fn jumps(trial: &mut Trial) -> Result<Finding> {
    let Some(library) = PLACES.iter().map(PathBuf::from).find(|path| path.exists()) else {
        return Ok(Finding::left_out("libfaketime is not installed"));
    };
    let mut lab = Lab::open(&Lab::setup(2))?;
    let clock = lab.cluster.scratch().join("clock");
    let set = |to: &str| {
        let draft = clock.with_extension("new");
        std::fs::write(&draft, to)
            .and_then(|()| std::fs::rename(&draft, &clock))
            .map_err(|cause| Error::io("setting the clock", &cause))
    };
    set("+0s")?;
    lab.cluster.kill_master();
    lab.cluster.restart_master_with(&[
        ("LD_PRELOAD", library.display().to_string()),
        ("FAKETIME_TIMESTAMP_FILE", clock.display().to_string()),
        ("FAKETIME_NO_CACHE", "1".into()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
        ("DONT_FAKE_MONOTONIC", "1".into()),
    ])?;
    lab.cluster.wait_for_workers(2)?;
    let job = lab.job(Kind::Wordcount, 500, &mut trial.draw)?;
    let (mut finding, mut fired) = (Finding { equal: true, ..Finding::default() }, 0);
    for jump in JUMPS {
        set(jump)?;
        let (app, run) = lab.submit(&job)?;
        std::thread::sleep(Duration::from_millis(200));
        set(if jump == "+0s" { "+0s" } else { "-1h" })?;
        let found = lab.verdict(app, &job, &run)?;
        let told = lab.status(app)?.submitted_ms;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        fired += u64::from((now.as_millis() as u64).abs_diff(told) > 200_000);
        finding = finding.and(found);
    }
    let lost = lab.metric("firesteel_workers_lost_total")?;
    ensure(lost == 0, format!("{lost} workers were given up because of the clock"))?;
    ensure(finding.cost.reran == 0, "something ran again because of the clock")?;
    lab.close(2)?;
    Ok(finding.fired(fired).with("jumps", JUMPS.len()))
}
