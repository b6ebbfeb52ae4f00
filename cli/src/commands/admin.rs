//! `firesteel admin`: the certificates of a cluster of several machines, as files, and the check of an audit
//! log. What is in certificates is the work of `common/net`, and what a log promises that of `master`.

use super::{ListFormat, print_json};
use crate::failure::{Exit, Failure, Outcome};
use crate::{print, run_dir};
use clap::{Args, Subcommand};
use firesteel_common::error::{Error, ErrorCode};
use firesteel_net::tls::authority::{Authority, Issued, Part};
use std::fs::{DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How long the authority's certificate is valid.
const AUTHORITY_DAYS: u64 = 3650;
/// The longest that another may be.
const DAYS_MAX: i64 = 825;

/// What an operator does.
#[derive(Debug, Subcommand)]
pub enum AdminCommand {
    Certs(CertsArgs),
    /// Looks after the audit log of a master
    #[command(subcommand)]
    Audit(AuditCommand),
}

/// What an operator does with an audit log.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    Verify(VerifyArgs),
}

/// Checks that no entry of the audit log was changed or taken away
///
/// Reads the files audit.jsonl and audit-*.jsonl of a run directory; the master may run or
/// not. Prints the hash of the last entry: noted elsewhere, it shows later that nothing
/// before it was taken away. Ends with an error that names the line if it is not whole.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The run directory of the master
    #[arg(long, value_name = "DIR", env = "FIRESTEEL_RUN_DIR", hide_env_values = true)]
    run_dir: Option<PathBuf>,
    /// How to print it
    #[arg(short = 'o', long = "output", alias = "format", value_enum, default_value_t)]
    format: ListFormat,
}

impl VerifyArgs {
    fn run(self) -> Outcome<Exit> {
        let report = firesteel_master::verify_audit(&run_dir::find(self.run_dir.as_deref())?)?;
        match self.format {
            ListFormat::Json => print_json(&report)?,
            ListFormat::Table => {
                print::line(format!("entries      {}", report.entries))?;
                print::line(format!("files        {}", report.files))?;
                if let Some(since) = &report.since {
                    print::line(format!("since        {since} (older ones were removed by the master)"))?;
                }
                if report.passed_over > 0 {
                    print::line(format!("passed over  {} lines that are no entries", report.passed_over))?;
                }
                print::line(format!("last         {}", report.last))?;
            }
        }
        Ok(Exit::Done)
    }
}

impl AdminCommand {
    /// Does it.
    pub fn run(self) -> Outcome<Exit> {
        match self {
            AdminCommand::Certs(args) => args.run(),
            AdminCommand::Audit(AuditCommand::Verify(args)) => args.run(),
        }
    }
}

/// Makes the certificates of a cluster
///
/// Writes into DIR the authority (ca.crt, ca.key), and a certificate with its key for
/// the master (master.crt, master.key) and for the workers (worker.crt, worker.key).
/// Every machine needs ca.crt and the pair of what it runs, in section tls of its
/// settings; commands need ca.crt. ca.key stays where it is: whoever has it can make
/// a master. Drivers need no certificate.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct CertsArgs {
    /// The directory for the files; made if it does not exist
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// A name or an address under which clients reach the master; may be given several times
    #[arg(long = "host", value_name = "NAME", required = true)]
    hosts: Vec<String>,
    /// How many days the certificates of master and workers are valid
    #[arg(
        long,
        value_name = "N",
        default_value_t = 365,
        value_parser = clap::value_parser!(i64).range(1..=DAYS_MAX)
    )]
    days: i64,
    /// Replace those of master and workers, by the authority that is there; restart the processes then
    #[arg(long)]
    renew: bool,
}

impl CertsArgs {
    fn run(self) -> Outcome<Exit> {
        let failed = |cause| Failure::io(format!("making the directory {}", self.out.display()), &cause);
        DirBuilder::new().recursive(true).mode(0o700).create(&self.out).map_err(failed)?;
        let now = SystemTime::now();
        // All are made before any is written, so that a wrong name leaves nothing half done.
        let (authority, mut files) = if self.renew {
            (self.known()?, Vec::new())
        } else {
            let (authority, issued) = Authority::create(now, days(AUTHORITY_DAYS))?;
            (authority, pair("ca", issued))
        };
        let valid = days(self.days.unsigned_abs());
        let mut hosts = self.hosts.clone();
        hosts.extend(["localhost", "127.0.0.1", "::1"].map(str::to_owned));
        files.extend(pair("master", authority.issue(Part::Master, &hosts, now, valid)?));
        files.extend(pair("worker", authority.issue(Part::Worker, &[], now, valid)?));
        if !self.renew {
            self.refuse_existing(&files)?;
        }
        for (name, text) in &files {
            self.write(name, text)?;
            print::line(self.out.join(name).display().to_string())?;
        }
        print::talk("keep ca.key here, and offline if you can; every machine needs ca.crt and its own pair");
        Ok(Exit::Done)
    }

    /// The authority of the directory.
    fn known(&self) -> Outcome<Authority> {
        let path = self.out.join("ca.key");
        let text = std::fs::read_to_string(&path).map_err(|cause| {
            Failure::io(format!("reading the key of the authority {}", path.display()), &cause)
                .with_help("without it nothing can be renewed: make a new authority in another directory")
        })?;
        Ok(Authority::with_key(&text)?)
    }

    fn refuse_existing(&self, files: &[(String, String)]) -> Outcome<()> {
        match files.iter().map(|(name, _)| self.out.join(name)).find(|path| path.exists()) {
            None => Ok(()),
            Some(path) => {
                let what = format!("{} exists already, and nothing is overwritten", path.display());
                Err(Failure::refused(Error::new(ErrorCode::Conflict, what))
                    .with_help("renew the certificates with --renew, or name another directory with --out"))
            }
        }
    }

    /// Writes a file as a whole, readable for its owner only if it is a key. Only a renewal replaces one.
    fn write(&self, name: &str, text: &str) -> Outcome<()> {
        let path = self.out.join(name);
        let part = self.out.join(format!(".{name}.part"));
        let mode = if name.ends_with(".key") { 0o600 } else { 0o644 };
        let written = write_new(&part, text, mode).and_then(|()| match self.renew {
            true => std::fs::rename(&part, &path),
            false => std::fs::hard_link(&part, &path).and_then(|()| std::fs::remove_file(&part)),
        });
        if written.is_err() {
            let _ = std::fs::remove_file(&part);
        }
        written.map_err(|cause| Failure::io(format!("writing {}", path.display()), &cause))
    }
}

fn write_new(path: &Path, text: &str, mode: u32) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn pair(name: &str, issued: Issued) -> Vec<(String, String)> {
    vec![(format!("{name}.crt"), issued.certificate), (format!("{name}.key"), issued.key)]
}

fn days(days: u64) -> Duration {
    Duration::from_secs(days * 24 * 3600)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use firesteel_net::Tls;
    use std::os::unix::fs::PermissionsExt;

    fn certs(out: &Path, host: &str, renew: bool) -> Outcome<Exit> {
        CertsArgs { out: out.to_owned(), hosts: vec![host.to_owned()], days: 1, renew }.run()
    }

    #[test]
    fn certificates_are_made_once_and_renewed_by_the_same_authority() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("certs");
        certs(&dir, "not a name\u{7f}ü", false).err().unwrap();
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 0, "nothing half done");
        certs(&dir, "m.example", false).unwrap();
        let text = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap();
        let load = |part: &str| {
            let path = |end: &str| dir.join(format!("{part}.{end}"));
            Tls::load(&dir.join("ca.crt"), &path("crt"), &path("key")).unwrap()
        };
        for part in ["master", "worker"] {
            load(part);
            let mode = |end: &str| dir.join(format!("{part}.{end}")).metadata().unwrap().permissions().mode();
            assert_eq!((mode("key") & 0o777, mode("crt") & 0o022), (0o600, 0));
        }
        let before = ["ca.crt", "ca.key", "master.crt"].map(text);
        assert!(certs(&dir, "m.example", false).is_err_and(|failure| failure.exit == Exit::Refused));
        assert_eq!(["ca.crt", "ca.key", "master.crt"].map(text), before);
        certs(&dir, "m.example", true).unwrap();
        assert_eq!([text("ca.crt"), text("ca.key")], before[..2]);
        assert_ne!(text("master.crt"), before[2]);
        load("master");
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 6, "no part is left");
        assert!(certs(&parent.path().join("none"), "m.example", true).is_err());
    }
}
