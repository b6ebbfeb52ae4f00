//! The decoders for as long as one likes: `decoders SECONDS [SEED [TARGET]]`, seconds for each target. A
//! finding is printed with its input, and written down if `FUZZ_KEEP` names a directory.

use firesteel_fuzz::alloc::Counting;
use firesteel_fuzz::sweep::{Finding, Until, shrink, sweep};
use firesteel_fuzz::targets::all;
use std::cell::RefCell;
use std::process::ExitCode;
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    static PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let seconds: u64 = args.next().and_then(|text| text.parse().ok()).unwrap_or(1);
    let seed: u64 = args.next().and_then(|text| text.parse().ok()).unwrap_or(1);
    let only = args.next();
    // A panic is a finding, and is told with it; here is only where it was.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        PLACE.with_borrow_mut(|last| *last = place);
    }));
    let mut findings = 0;
    for target in all() {
        if only.as_ref().is_some_and(|name| name != target.name) {
            continue;
        }
        let end = Instant::now() + Duration::from_secs(seconds);
        match sweep(&target, seed, Until::Time(end)) {
            Ok(seen) => println!(
                "target={} seed={seed} inputs={} mib={:.1} peak_kib={} found=no",
                target.name,
                seen.inputs,
                seen.bytes as f64 / f64::from(1 << 20),
                seen.peak >> 10
            ),
            Err(finding) => {
                findings += 1;
                let finding = shrink(&target, finding);
                let place = PLACE.with_borrow(String::clone);
                println!("target={} seed={seed} found=yes at={place}\n  {finding}", target.name);
                keep(&finding);
            }
        }
    }
    if findings == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn keep(finding: &Finding) {
    let Some(dir) = std::env::var_os("FUZZ_KEEP") else { return };
    let file = std::path::Path::new(&dir).join(format!("{}-{}.bin", finding.target, finding.seed));
    if let Err(cause) = std::fs::write(&file, &finding.input) {
        eprintln!("{}: {cause}", file.display());
    }
}
