//! Every port of real processes, shortly; `scripts/fuzz ports` does it at length.
#![expect(clippy::panic, reason = "a test that cannot go on has failed")]

use firesteel_fuzz::ports::{Plan, run};
use std::sync::{Mutex, PoisonError};

/// Enough for each kind of peer to come several times.
const REQUESTS: u64 = 20_000;

#[test]
fn peers_of_every_kind_hurt_nobody() {
    peers(Plan { seed: 7, requests: REQUESTS, tls: false });
}

#[test]
fn with_certificates_neither() {
    peers(Plan { seed: 8, requests: REQUESTS / 4, tls: true });
}

fn peers(plan: Plan) {
    // One cluster at a time.
    static MACHINE: Mutex<()> = Mutex::new(());
    let _machine = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    let report = run(plan).unwrap_or_else(|error| panic!("{error}\n{}", error.detail));
    assert!(report.requests() >= plan.requests * 9 / 10, "{report:?}");
    let (http, _) = report.rows["http"];
    assert!(http.accepted > 0 && http.refused > 0, "{http:?}");
    let (worker, _) = report.rows["rogue worker"];
    assert!(worker.answered > 0, "{worker:?}");
    // Every stranger is refused, and so are requests without the token.
    assert!(report.refusals > plan.requests / 20, "{report:?}");
}
