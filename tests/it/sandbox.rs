//! Jobs that attack what is around them, from a task and from a driver: every attack is refused, and what
//! reached a listener of the cluster stands in the audit log. What the machine cannot do is said and left
//! out.

use crate::naughty::{assert_clean, assert_well, plugin, sandbox};
use crate::{machine, request, stop, until};
use firesteel_common::id::PluginHash;
use firesteel_tests::cluster::{Cluster, Setup};
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// What a process of the cluster's own user would look like to a job.
struct Neighbour(Child);

impl Neighbour {
    fn start() -> Self {
        let mut command = Command::new("sleep");
        Self(command.arg("600").env("CANARY", "sings").stdin(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        let _ = (self.0.kill(), self.0.wait());
    }
}

/// The lines that the attacks came back with.
fn attack(cluster: &Cluster, plugin: PluginHash, place: &str, lines: &[String]) -> Vec<String> {
    let what = lines.join("\n");
    let (_, answer) = cluster.run(&request(plugin, "attack", &[("what", &what), ("place", place)])).unwrap();
    let answer: Vec<String> = serde_json::from_slice(&answer).unwrap();
    assert_eq!(answer.len(), lines.len(), "{answer:?}");
    answer
}

/// Asserts that each was refused as what it is, not because there was nothing to attack.
fn assert_refused(place: &str, answers: &[String]) {
    let refusals = ["os error 1)", "os error 13)", "os error 30)", "os error 38)"];
    // What is covered is there, and empty.
    let refused = |answer: &&String| {
        refusals.iter().any(|refusal| answer.ends_with(refusal)) || answer.ends_with("DONE 0 bytes")
    };
    let done = answers.iter().filter(|answer| !refused(answer));
    let done: Vec<&String> = done.collect();
    assert!(done.is_empty(), "in the {place}:\n{done:#?}");
}

fn lines(name: &str, arguments: impl IntoIterator<Item = impl std::fmt::Display>) -> Vec<String> {
    arguments.into_iter().map(|argument| format!("{name}={argument}")).collect()
}

#[test]
fn files_that_are_not_the_jobs_are_refused() {
    let _machine = machine();
    let cluster = Cluster::start(&Setup::new(2)).unwrap();
    let plugin = cluster.upload(&plugin()).unwrap().hash;
    let place = tempfile::tempdir().unwrap();
    let victim = place.path().join("victim");
    std::fs::write(&victim, "precious").unwrap();
    let run = cluster.run_dir();
    let inside = |name: &str| run.join(name).display().to_string();
    let mut all =
        lines("read", ["secret", "token", "journal.redb", "audit.jsonl", "master.json"].map(inside));
    all.retain(|line| Path::new(line.trim_start_matches("read=")).exists());
    assert!(all.len() >= 4, "{all:?}");
    for answer in ["task", "driver"].iter().flat_map(|place| attack(&cluster, plugin, place, &all)) {
        assert!(answer.contains("refused"), "{answer}");
    }
    let mut all = lines("read", ["/etc/shadow", "/etc/gshadow"]);
    all.extend(lines("read", devices()));
    let outside = victim.with_file_name("new").display().to_string();
    all.extend(lines("write", [&outside, &victim.display().to_string(), "/etc/passwd", "/proc/self/comm"]));
    for name in ["remove", "chmod", "utime", "chown"] {
        all.extend(lines(name, [victim.display()]));
    }
    all.extend(lines("link", [&outside]));
    all.extend(["setuid-chmod=a", "setuid-open=b", "setuid-openat2=c"].map(str::to_owned));
    for place in ["task", "driver"] {
        assert_refused(place, &attack(&cluster, plugin, place, &all));
    }
    assert_eq!(std::fs::read(&victim).unwrap(), b"precious");
    assert_clean(&cluster);
    stop(cluster);
}

/// Devices that give what files do not: disks, memory, terminals.
fn devices() -> Vec<String> {
    let disks = std::fs::read_to_string("/proc/partitions").unwrap_or_default();
    let disks = disks.lines().skip(2).filter_map(|line| line.split_whitespace().last());
    let disks = disks.map(|name| format!("/dev/{name}"));
    let others = ["/dev/mem", "/dev/kmsg", "/dev/ptmx", "/dev/fuse", "/dev/kvm"].map(str::to_owned);
    disks.chain(others).filter(|path| Path::new(path).exists()).collect()
}

#[test]
fn other_processes_are_out_of_reach() {
    let _machine = machine();
    let cluster = Cluster::start(&Setup::new(2)).unwrap();
    let plugin = cluster.upload(&plugin()).unwrap().hash;
    let neighbour = Neighbour::start();
    let mut pids = cluster.pids();
    pids.push(neighbour.0.id());
    let mut all = Vec::new();
    let names =
        ["kill", "ptrace", "vm", "limits", "affinity", "nice", "io-priority", "scheduler", "session-of"];
    for name in names {
        all.extend(lines(name, &pids));
    }
    for what in ["mem", "environ", "maps", "auxv", "stack"] {
        all.extend(lines("read", pids.iter().map(|pid| format!("/proc/{pid}/{what}"))));
    }
    for what in ["root", "cwd", "fd/0", "fd/1", "fd/2", "exe"] {
        all.extend(lines("link-of", pids.iter().map(|pid| format!("/proc/{pid}/{what}"))));
        all.extend(lines("read", pids.iter().map(|pid| format!("/proc/{pid}/{what}"))));
    }
    for place in ["task", "driver"] {
        assert_refused(place, &attack(&cluster, plugin, place, &all));
        for answer in attack(&cluster, plugin, place, &["environment".to_owned(), "descriptors".to_owned()]) {
            let secret = std::fs::read_to_string(cluster.run_dir().join("secret")).unwrap();
            assert!(!answer.contains("CANARY") && !answer.contains(secret.trim()), "{answer}");
            assert!(!answer.contains("LD_") && !answer.contains("/run/journal"), "{answer}");
            println!("{answer}");
        }
    }
    // A job of another application finds nothing of this one, and the neighbour still lives.
    assert!(Path::new(&format!("/proc/{}", neighbour.0.id())).exists());
    assert_well(&cluster, plugin);
    stop(cluster);
}

#[test]
fn the_kernels_back_doors_are_closed() {
    let _machine = machine();
    let cluster = Cluster::start(&Setup::new(1)).unwrap();
    if !sandbox(&cluster).seccomp {
        println!("skipped: no filter of system calls here");
        return stop(cluster);
    }
    let plugin = cluster.upload(&plugin()).unwrap().hash;
    let calls = [
        "mount umount pivot_root chroot open_tree move_mount fsopen mount_setattr unshare setns clone-user",
        "clone-parent clone3 bpf io_uring_setup io_uring_enter perf_event_open userfaultfd keyctl add_key",
        "init_module kexec_load open_by_handle_at setsid personality shmget semget msgget mq_open",
        "terminal-input terminal-paste x32 from-the-future accept fast-open fast-open-message",
        "fast-open-messages",
    ];
    let all = lines("call", calls.iter().flat_map(|some| some.split(' ')));
    for place in ["task", "driver"] {
        assert_refused(place, &attack(&cluster, plugin, place, &all));
    }
    assert_refused("task", &attack(&cluster, plugin, "task", &["call=connect".to_owned()]));
    assert_well(&cluster, plugin);
    stop(cluster);
}

#[test]
fn sockets_lead_nowhere() {
    let _machine = machine();
    let cluster = Cluster::start(&Setup::new(2)).unwrap();
    let plugin = cluster.upload(&plugin()).unwrap().hash;
    let place = tempfile::tempdir().unwrap();
    let (stream, datagrams) = (place.path().join("stream"), place.path().join("datagrams"));
    let _stream = UnixListener::bind(&stream).unwrap();
    let _datagrams = UnixDatagram::bind(&datagrams).unwrap();
    let name = format!("firesteel-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let _abstract = UnixListener::bind_addr(&address).unwrap();
    let mut local = lines("unix", [stream.display()]);
    local.extend(lines("pair", [datagrams.display()]));
    local.extend(lines("abstract", [&name]));
    local.extend(["listen=127.0.0.1:0", "listen=", "raw", "mptcp"].map(str::to_owned));
    for place in ["task", "driver"] {
        assert_refused(place, &attack(&cluster, plugin, place, &local));
    }
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let other = other.local_addr().unwrap().to_string();
    let ports = [cluster.http().trim_start_matches("http://").to_owned(), cluster.master().to_owned(), other];
    let mut dialled = lines("connect", &ports);
    dialled.extend(lines("udp", &ports));
    assert_refused("task", &attack(&cluster, plugin, "task", &dialled));
    stop(cluster);
}

#[test]
fn what_reaches_a_listener_stands_in_the_audit_log() {
    let _machine = machine();
    let cluster = Cluster::start(&Setup::new(2)).unwrap();
    let plugin = cluster.upload(&plugin()).unwrap().hash;
    // A driver has to dial, and does not know where the others listen; without a key it is told nothing.
    let http = cluster.http().trim_start_matches("http://").to_owned();
    let all = lines("connect", [&http, &cluster.master().to_owned()]);
    let answers = attack(&cluster, plugin, "driver", &all);
    assert!(answers[0].contains("DONE 'HTTP/1.1 401"), "{answers:?}");
    assert!(answers[1].ends_with("DONE ''"), "{answers:?}");
    let audited = || String::from_utf8(cluster.get("/audit?limit=100").unwrap()).unwrap();
    until(|| audited().contains("control port").then_some(()));
    assert!(audited().contains("/api/firesteel/v1/applications"), "{}", audited());
    stop(cluster);
}

/// Whether the user of a worker can be another one here.
fn can_change_user() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("skipped: only root can run jobs as somebody else");
    }
    root
}

#[test]
fn jobs_run_as_another_user_if_one_is_named() {
    let _machine = machine();
    if !can_change_user() {
        return;
    }
    let cluster = Cluster::start(&Setup::new(1).set("worker.user", "65534")).unwrap();
    assert_eq!(sandbox(&cluster).user, Some(65534));
    let plugin = cluster.upload(&plugin()).unwrap().hash;
    for place in ["task", "driver"] {
        let answers =
            attack(&cluster, plugin, place, &["exec=/usr/bin/id".to_owned(), "write=mine".to_owned()]);
        assert!(answers[0].contains("uid=65534") && !answers[0].contains("(root)"), "{answers:?}");
        assert!(answers[1].ends_with("DONE written"), "{answers:?}");
    }
    assert_well(&cluster, plugin);
    assert_clean(&cluster);
    stop(cluster);
}

#[test]
fn what_must_be_complete_and_is_not_runs_nothing() {
    let _machine = machine();
    // As root without a user for jobs something is missing; where root can name one, nothing is.
    let setup = Setup::new(1).set("worker.sandbox", "require");
    let error = Cluster::start(&setup.clone().set("worker.user", "")).err().unwrap();
    let said = format!("{error} {}", error.detail);
    for words in ["the sandbox is not complete", "own user", "best-effort"] {
        assert!(said.contains(words), "'{words}' is not in: {said}");
    }
    if !can_change_user() {
        return;
    }
    match Cluster::start(&setup.set("worker.user", "65534")) {
        Ok(cluster) => {
            assert_eq!(sandbox(&cluster).missing, Vec::<String>::new());
            let plugin = cluster.upload(&plugin()).unwrap().hash;
            assert_well(&cluster, plugin);
            stop(cluster);
        }
        Err(error) => {
            let said = format!("{error} {}", error.detail);
            assert!(said.contains("the sandbox is not complete"), "{said}");
            println!("skipped: this machine has not all of it: {said}");
        }
    }
}
