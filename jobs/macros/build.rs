//! Tells the attribute which compiler builds it, so that plugins can say so.

use std::process::Command;

fn main() {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let version = Command::new(rustc).arg("--version").output().ok();
    let version = version.and_then(|output| String::from_utf8(output.stdout).ok()).unwrap_or_default();
    println!("cargo::rustc-env=FIRESTEEL_RUSTC={}", version.trim());
    println!("cargo::rerun-if-changed=build.rs");
}
