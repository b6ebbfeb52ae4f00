//! A cluster of three machines, which are network namespaces: certificates, a job whose segments cross
//! machines, what is refused, and cables that are pulled. Needs root and `ip netns`; says so otherwise.

use super::{LOOK, PATIENCE, machine, text, until, wordcount};
use firesteel_tests::cluster::binary;
use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The master's machine.
const MASTER: u8 = 1;
/// Those of the workers.
const WORKERS: [u8; 2] = [2, 3];

/// Three namespaces, joined by a bridge in the first. They go with the value, and all that runs in them.
struct Machines {
    dir: TempDir,
    children: Vec<Child>,
}

impl Machines {
    /// `None` where that is not possible.
    fn make() -> Option<Self> {
        let machines = Self { dir: TempDir::new().unwrap(), children: Vec::new() };
        let possible = rustix::process::geteuid().is_root()
            && Command::new("ip").args(["netns", "add", &name(MASTER)]).status().is_ok_and(|it| it.success());
        if !possible {
            eprintln!("skipped: needs root and ip netns");
            return None;
        }
        ip(&["-n", &name(MASTER), "link", "add", "bridge", "type", "bridge"]);
        ip(&["-n", &name(MASTER), "link", "set", "bridge", "up"]);
        for number in WORKERS {
            ip(&["netns", "add", &name(number)]);
            let (near, there) = (cable(number), name(number));
            ip(&[
                "-n",
                &name(MASTER),
                "link",
                "add",
                &near,
                "type",
                "veth",
                "peer",
                "name",
                "eth0",
                "netns",
                &there,
            ]);
            ip(&["-n", &name(MASTER), "link", "set", &near, "master", "bridge", "up"]);
        }
        for (number, device) in [(MASTER, "bridge"), (WORKERS[0], "eth0"), (WORKERS[1], "eth0")] {
            ip(&["-n", &name(number), "addr", "add", &format!("{}/24", address(number)), "dev", device]);
            ip(&["-n", &name(number), "link", "set", device, "up"]);
            ip(&["-n", &name(number), "link", "set", "lo", "up"]);
        }
        Some(machines)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A command of the binary, on one machine.
    fn firesteel(&self, machine: u8, args: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &name(machine)]).arg(binary().unwrap()).args(args);
        command.env_remove("FIRESTEEL_RUN_DIR").env_remove("FIRESTEEL_CONFIG").stdin(Stdio::null());
        command
    }

    /// Writes the settings of one machine, which name its certificate.
    fn settings(&self, machine: u8, role: &str, more: &str) -> PathBuf {
        let certs = self.path("certs");
        let file = |name: &str| certs.join(name).display().to_string();
        let (ca, cert, key) = (file("ca.crt"), file(&format!("{role}.crt")), file(&format!("{role}.key")));
        let text = format!("{more}\n[tls]\nca = {ca:?}\ncert = {cert:?}\nkey = {key:?}\n");
        let path = self.path(&format!("{machine}.toml"));
        std::fs::write(&path, text).unwrap();
        path
    }

    fn start(&mut self, machine: u8, args: &[&str]) {
        let log = File::create(self.path(&format!("{machine}.log"))).unwrap();
        let mut command = self.firesteel(machine, args);
        command.stdout(log.try_clone().unwrap()).stderr(log);
        self.children.push(command.spawn().unwrap());
    }

    /// Certificates, a master and the workers, each with what its machine would have.
    fn start_cluster(&mut self) {
        let (certs, master) = (self.path("certs"), address(MASTER));
        let made =
            self.firesteel(MASTER, &["admin", "certs", "--host", &master, "--out"]).arg(certs).output();
        succeeded(made.unwrap());
        let more = format!(
            "[master]\nlisten = \"{master}:7077\"\nhttp = \"{master}:7070\"\nhosts = [\"{master}\"]\n\
             [scheduler]\nheartbeat_ms = 200\nworker_timeout_ms = 1000\nreconnect_ms = 500"
        );
        let config = self.settings(MASTER, "master", &more);
        let run_dir = self.path("master");
        self.start(MASTER, &["master", "--run-dir", text_of(&run_dir), "--config", text_of(&config)]);
        until(|| run_dir.join("master.json").exists().then_some(()));
        for number in WORKERS {
            let run_dir = self.path(&format!("worker-{number}"));
            std::fs::create_dir(&run_dir).unwrap();
            // The operator carries the secret to each machine, with the certificate.
            std::fs::copy(self.path("master/secret"), run_dir.join("secret")).unwrap();
            let listen = format!("[worker]\nlisten = \"{}:0\"\nmemory = 268435456", address(number));
            let config = self.settings(number, "worker", &listen);
            let at = format!("{master}:7077");
            let (run_dir, config) = (text_of(&run_dir), text_of(&config));
            self.start(number, &["worker", "--master", &at, "--run-dir", run_dir, "--config", config]);
        }
        until(|| (self.alive() == WORKERS.len()).then_some(()));
    }

    /// Workers that the master hears.
    fn alive(&self) -> usize {
        let run_dir = self.path("master");
        let listed =
            self.firesteel(MASTER, &["workers", "--format", "json", "--run-dir"]).arg(run_dir).output();
        let workers: serde_json::Value = serde_json::from_slice(&succeeded(listed.unwrap())).unwrap();
        workers.as_array().unwrap().iter().filter(|worker| worker["alive"] == true).count()
    }

    /// The word count, asked for from one machine as from anywhere.
    fn count(&self, machine: u8, input: &Path) -> text::Counts {
        let (url, input) =
            (format!("https://{}:7070", address(MASTER)), format!("input={}", input.display()));
        let plugin = wordcount();
        let mut submit =
            self.firesteel(machine, &["submit", text_of(&plugin), "--entry", "wordcount", &input]);
        submit.args(["--quiet", "--master", &url, "--ca"]).arg(self.path("certs/ca.crt"));
        let answer = submit.arg("--token-file").arg(self.path("master/token")).output().unwrap();
        serde_json::from_slice(&succeeded(answer)).unwrap()
    }

    /// The end of a machine's log, for a failure.
    fn log(&self, machine: u8) -> String {
        std::fs::read_to_string(self.path(&format!("{machine}.log"))).unwrap_or_default()
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        for child in self.children.iter_mut().rev() {
            if let Some(pid) = rustix::process::Pid::from_raw(child.id() as i32) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            }
        }
        let deadline = Instant::now() + Duration::from_secs(5);
        for child in &mut self.children {
            while child.try_wait().is_ok_and(|ended| ended.is_none()) && Instant::now() < deadline {
                std::thread::sleep(LOOK);
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        for number in [WORKERS[0], WORKERS[1], MASTER] {
            let _ = Command::new("ip").args(["netns", "del", &name(number)]).stderr(Stdio::null()).status();
        }
    }
}

fn name(machine: u8) -> String {
    format!("firesteel-{}-{machine}", std::process::id())
}

fn address(machine: u8) -> String {
    format!("10.99.7.{machine}")
}

/// The master's end of a worker's cable.
fn cable(machine: u8) -> String {
    format!("cable{machine}")
}

fn ip(args: &[&str]) {
    succeeded(Command::new("ip").args(args).output().unwrap());
}

fn text_of(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn succeeded(output: Output) -> Vec<u8> {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Speaks without TLS to a port of the master, from the machine of a worker; returns what came back.
fn speak_plainly(port: u16, words: &[u8]) -> Vec<u8> {
    // A thread that has entered a namespace cannot be used for anything else, and ends.
    let words = words.to_vec();
    let speaking = std::thread::spawn(move || {
        let there = File::open(format!("/run/netns/{}", name(WORKERS[0]))).unwrap();
        let kind = Some(rustix::thread::LinkNameSpaceType::Network);
        rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&there), kind).unwrap();
        let mut stream = TcpStream::connect((address(MASTER), port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&words).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        answer
    });
    speaking.join().unwrap()
}

#[test]
fn three_machines_with_tls() {
    let _machine = machine();
    let Some(mut machines) = Machines::make() else { return };
    machines.start_cluster();
    let input = machines.path("input");
    text::write(&input, 6, 2_000_000, 41);
    let expected = text::expected(&text::counted_by_others(&input), 10);
    assert_eq!(machines.count(MASTER, &input), expected);
    assert_eq!(machines.count(WORKERS[0], &input), expected);

    // Whoever does not speak TLS gets an alert, or nothing, and no page and no greeting.
    for (port, words) in
        [(7077, &[b'F'; 64][..]), (7070, b"GET /healthz HTTP/1.1\r\nHost: 10.99.7.1\r\n\r\n")]
    {
        let answer = speak_plainly(port, words);
        assert!(answer.is_empty() || answer.first() == Some(&0x15), "{port}: {answer:?}");
    }
    until(|| machines.log(MASTER).contains("does not speak TLS").then_some(()));
    let url = format!("http://{}:7070", address(MASTER));
    let token = machines.path("master/token");
    let refused =
        machines.firesteel(WORKERS[0], &["apps", "--master", &url, "--token-file", text_of(&token)]);
    let refused = { refused }.output().unwrap();
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("without TLS"));

    // A cable is pulled: the worker is lost, the other one does the work; it comes back when the cable does.
    ip(&["-n", &name(MASTER), "link", "set", &cable(WORKERS[1]), "down"]);
    until(|| (machines.alive() == 1).then_some(()));
    assert_eq!(machines.count(MASTER, &input), expected, "{}", machines.log(MASTER));
    ip(&["-n", &name(MASTER), "link", "set", &cable(WORKERS[1]), "up"]);
    until(|| (machines.alive() == 2).then_some(()));
    assert_eq!(machines.count(MASTER, &input), expected, "{}", machines.log(MASTER));
}

#[test]
fn workers_that_cannot_reach_each_other() {
    let _machine = machine();
    let Some(mut machines) = Machines::make() else { return };
    machines.start_cluster();
    let input = machines.path("input");
    text::write(&input, 4, 100_000, 43);
    let expected = text::expected(&text::counted_by_others(&input), 10);
    // The workers cannot reach each other, and the master both: what one holds is computed again by the
    // other.
    ip(&["-n", &name(WORKERS[0]), "route", "add", "blackhole", &address(WORKERS[1])]);
    assert_eq!(machines.count(MASTER, &input), expected, "{}", machines.log(MASTER));
    let unreachable = WORKERS.map(|worker| machines.log(worker).matches("connecting to").count());
    assert!(unreachable.iter().sum::<usize>() > 0, "the fault was met");
    ip(&["-n", &name(WORKERS[0]), "route", "del", "blackhole", &address(WORKERS[1])]);
    assert_eq!(machines.count(WORKERS[1], &input), expected, "{}", machines.log(MASTER));
}
