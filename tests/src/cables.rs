//! Workers on machines of their own, which are network namespaces joined by a bridge on this one: cables that
//! can be pulled, cut off from each other, or made slow. Needs root and `ip netns`.

use firesteel_common::error::{Error, ErrorCode, Result};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// The first three bytes of every address.
const NET: &str = "10.99.8";

/// The namespaces of so many workers. They go with the value.
#[derive(Debug)]
pub struct Cables {
    names: Vec<String>,
    own: String,
}

impl Cables {
    /// Makes them, or says why that is not possible here.
    ///
    /// # Errors
    /// `UNSUPPORTED` without root or without `ip netns`.
    pub fn lay(machines: u8) -> Result<Self> {
        // Names of an earlier set may still be going away: the kernel takes its time.
        static SETS: AtomicU32 = AtomicU32::new(0);
        let own = format!("{}x{}", std::process::id(), SETS.fetch_add(1, Ordering::Relaxed));
        let names = (1..=machines).map(|number| format!("fsc-{own}-{number}")).collect();
        let cables = Self { names, own };
        if !rustix::process::geteuid().is_root() {
            return Err(Error::new(ErrorCode::Unsupported, "network namespaces need root"));
        }
        let bridge = cables.bridge();
        ip(&["link", "add", &bridge, "type", "bridge"])?;
        ip(&["addr", "add", &format!("{NET}.254/24"), "dev", &bridge])?;
        ip(&["link", "set", &bridge, "up"])?;
        for (index, name) in cables.names.iter().enumerate() {
            let near = cables.near(index);
            ip(&["netns", "add", name])?;
            ip(&["link", "add", &near, "type", "veth", "peer", "name", "eth0", "netns", name])?;
            ip(&["link", "set", &near, "master", &bridge])?;
            ip(&["link", "set", &near, "up"])?;
            ip(&["-n", name, "addr", "add", &format!("{}/24", cables.address(index)), "dev", "eth0"])?;
            ip(&["-n", name, "link", "set", "eth0", "up"])?;
            ip(&["-n", name, "link", "set", "lo", "up"])?;
        }
        Ok(cables)
    }

    /// The address of this machine.
    pub fn home(&self) -> String {
        format!("{NET}.254")
    }

    /// The address of a machine (counted from 0).
    pub fn address(&self, index: usize) -> String {
        format!("{NET}.{}", index + 1)
    }

    /// The namespace of a machine.
    pub fn name(&self, index: usize) -> &str {
        self.names.get(index).map(String::as_str).unwrap_or_default()
    }

    /// Pulls or puts back the cable of a machine.
    ///
    /// # Errors
    /// If `ip` does not do it.
    pub fn plug(&self, index: usize, up: bool) -> Result<()> {
        ip(&["link", "set", &self.near(index), if up { "up" } else { "down" }])
    }

    /// Cuts a machine off another one, or joins them again. Both reach this machine as before.
    ///
    /// # Errors
    /// If `ip` does not do it.
    pub fn cut(&self, index: usize, other: usize, cut: bool) -> Result<()> {
        let what = if cut { "add" } else { "del" };
        ip(&["-n", self.name(index), "route", what, "blackhole", &self.address(other)])
    }

    /// Makes what a machine sends slow: `rate` as `tc` writes it (`1mbit`).
    ///
    /// # Errors
    /// `UNSUPPORTED` if this kernel has no such queue.
    pub fn slow(&self, index: usize, rate: &str) -> Result<()> {
        let queue = ["qdisc", "add", "dev", "eth0", "root", "tbf", "rate", rate];
        let name = self.name(index);
        let args = [&["-n", name][..], &queue, &["burst", "16kb", "latency", "400ms"]].concat();
        run("tc", &args)
    }

    /// This machine's end of a cable.
    fn near(&self, index: usize) -> String {
        format!("fv{}-{}", self.own, index + 1)
    }

    fn bridge(&self) -> String {
        format!("fb{}", self.own)
    }
}

impl Drop for Cables {
    fn drop(&mut self) {
        // What was not made cannot be removed; an end of a cable goes with the namespace of the other one.
        let quiet = |args: &[&str]| drop(Command::new("ip").args(args).stderr(Stdio::null()).status());
        self.names.iter().for_each(|name| quiet(&["netns", "del", name]));
        quiet(&["link", "del", &self.bridge()]);
    }
}

fn ip(args: &[&str]) -> Result<()> {
    run("ip", args)
}

fn run(program: &str, args: &[&str]) -> Result<()> {
    let unsupported = |why: String| {
        Error::new(ErrorCode::Unsupported, format!("{program} {}: {}", args.join(" "), why.trim()))
    };
    let output = Command::new(program).args(args).output().map_err(|cause| unsupported(cause.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(unsupported(String::from_utf8_lossy(&output.stderr).into_owned()))
}
