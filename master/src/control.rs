//! The control port: workers, drivers, and workers that fetch plugins. What comes over a link is handed to
//! the actor by the link's own thread; the output of applications goes straight to the logs.

use crate::actor::{Fact, Master, feed};
use crate::effects::Shared;
use crate::files::plugin_path;
use actix::Addr;
use firesteel_common::graph::StageSpec;
use firesteel_common::id::AppAttemptId;
use firesteel_common::protocol::data::{DATA_FRAME_LEN_MAX, PluginReply, PluginRequest};
use firesteel_common::protocol::driver::{FromDriver, ToDriver};
use firesteel_common::protocol::hello::Role;
use firesteel_common::protocol::worker::{FromWorker, REFUSALS_MAX, ToMaster, ToWorker};
use firesteel_common::{Error, ErrorCode, Result};
use firesteel_net::listener::Service;
use firesteel_net::{Key, Link, Listener, Socket, Transport, read_frame, write_frame};
use firesteel_scheduler::event::{Event, LinkId};
use std::fs::File;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Messages that may wait for a peer; one that lets more pile up is dropped and comes back.
const OUTBOX: usize = 16_384;
/// Parts of a driver's graph that are put together when it attaches.
const ATTACH_PARTS_MAX: usize = 128;
/// Bytes of all of them together, roughly as they lie in memory.
const ATTACH_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Bytes of a text in a worker's report of refusals that are written.
const WORDS_MAX: usize = 256;
/// How many refusals of one source a worker can report at once.
const REFUSED_MAX: u64 = 1_000_000;
/// How long a worker may take over one step of fetching a plugin.
const FETCH_TIMEOUT: Duration = Duration::from_secs(60);

/// What the control port needs to know.
pub(crate) struct Control {
    /// Everything that is shared.
    pub shared: Shared,
    /// The actor.
    pub actor: Addr<Master>,
    /// The cluster secret.
    pub secret: Key,
    /// Where plugins lie.
    pub run_dir: PathBuf,
    /// How connections are made.
    pub transport: Transport,
}

impl Control {
    /// Starts to accept.
    ///
    /// # Errors
    /// `IO` if no thread can be had.
    pub(crate) fn listen(self, listener: TcpListener) -> Result<Listener> {
        let control = Arc::new(self);
        let keys = Arc::clone(&control);
        let links = AtomicU64::new(1);
        let audit = control.shared.audit.clone();
        let mut service = Service::over(control.transport.clone(), "control", Role::Master);
        service.on_refusal = Box::new(move |why, from, error| {
            let code = error.map_or("", |error| error.code.as_str());
            audit.refused("", &from.to_string(), "hello", "control port", &format!("{why:?} {code}"));
        });
        Listener::serve(
            listener,
            service,
            move |role| keys.key_for(role),
            move |stream, role| {
                let link = LinkId(links.fetch_add(1, Ordering::Relaxed));
                if let Err(error) = control.serve(stream, role, link) {
                    tracing::warn!(%error, ?role, "a connection ended");
                }
            },
        )
    }

    /// The key that a peer must prove. A driver's exists only if its attempt was made.
    fn key_for(&self, role: Role) -> Option<Key> {
        match role {
            Role::Worker | Role::Fetcher => Some(self.secret.clone()),
            Role::Driver(app) if self.shared.board.admits_driver(app) => Some(self.secret.for_app(app)),
            Role::Driver(_) | Role::Master | Role::Reader(_) => None,
        }
    }

    fn serve(&self, stream: Socket, role: Role, link: LinkId) -> Result<()> {
        match role {
            Role::Worker => self.serve_worker(stream, link),
            Role::Driver(app) => self.serve_driver(stream, app, link),
            Role::Fetcher => serve_plugins(stream, &self.run_dir),
            Role::Master | Role::Reader(_) => Ok(()),
        }
    }

    fn serve_worker(&self, stream: Socket, link: LinkId) -> Result<()> {
        // The reader waits at the gate until the actor knows the link, so that nothing overtakes it.
        let gate = Arc::new(OnceLock::new());
        let (open, close) = (Arc::clone(&gate), Arc::clone(&gate));
        let (actor, closed) = (self.actor.clone(), self.actor.clone());
        let shared = self.shared.clone();
        let on_message = move |mut message: FromWorker| {
            open.wait();
            message.cut_texts();
            match note_output(&shared, message) {
                Some(message) => feed(&actor, Fact::Event(Event::FromWorker { link, message })),
                None => true,
            }
        };
        let on_close = move |error: Option<Error>| {
            close.wait();
            if let Some(error) = error {
                tracing::warn!(%error, link = link.0, "a worker's link broke");
            }
            feed(&closed, Fact::Event(Event::WorkerLinkClosed(link)));
        };
        let sender: Link<ToWorker> =
            Link::start(stream, &format!("worker-link-{}", link.0), OUTBOX, on_message, on_close)?;
        feed(&self.actor, Fact::WorkerLinked(link, sender));
        gate.get_or_init(|| ());
        Ok(())
    }

    fn serve_driver(&self, stream: Socket, app: AppAttemptId, link: LinkId) -> Result<()> {
        let gate = Arc::new(OnceLock::new());
        let (open, close) = (Arc::clone(&gate), Arc::clone(&gate));
        let (actor, closed) = (self.actor.clone(), self.actor.clone());
        let mut parts = Parts::default();
        let on_message = move |mut message: FromDriver| {
            open.wait();
            message.cut_texts();
            match parts.gather(message) {
                Ok(Some(message)) => feed(&actor, Fact::FromDriver(app, link, message)),
                Ok(None) => true,
                Err(error) => {
                    tracing::warn!(%error, %app, "a driver is not listened to");
                    false
                }
            }
        };
        let on_close = move |error: Option<Error>| {
            close.wait();
            if let Some(error) = error {
                tracing::info!(%error, %app, "a driver's link broke");
            }
            feed(&closed, Fact::DriverLinkClosed(app, link));
        };
        let sender: Link<ToDriver> =
            Link::start(stream, &format!("driver-{app}"), OUTBOX, on_message, on_close)?;
        feed(&self.actor, Fact::DriverLinked(app, link, sender));
        gate.get_or_init(|| ());
        Ok(())
    }
}

/// Roughly how many bytes a stage takes.
fn weight(stage: &StageSpec) -> usize {
    let tasks = stage.tasks.iter().map(|task| size_of_val(task) + task.payload.len());
    size_of_val(stage) + stage.payload.len() + tasks.sum::<usize>()
}

/// The parts of an attachment that have come.
#[derive(Default)]
struct Parts {
    stages: Vec<StageSpec>,
    count: usize,
    bytes: usize,
}

impl Parts {
    /// Keeps a part; hands on everything else, and an attachment with all of its parts.
    fn gather(&mut self, message: FromDriver) -> Result<Option<FromDriver>> {
        match message {
            FromDriver::AttachPart { .. } if self.count == ATTACH_PARTS_MAX => {
                let what = format!("a graph of more than {ATTACH_PARTS_MAX} parts");
                Err(Error::new(ErrorCode::TooLarge, what))
            }
            FromDriver::AttachPart { stages } => {
                self.count += 1;
                self.bytes += stages.iter().map(weight).sum::<usize>();
                if self.bytes > ATTACH_BYTES_MAX {
                    let what = format!("a graph of more than {ATTACH_BYTES_MAX} bytes");
                    return Err(Error::new(ErrorCode::TooLarge, what));
                }
                self.stages.extend(stages);
                Ok(None)
            }
            FromDriver::Attach { stages, jobs } => {
                let Parts { stages: mut all, .. } = std::mem::take(self);
                all.extend(stages);
                Ok(Some(FromDriver::Attach { stages: all, jobs }))
            }
            other => Ok(Some(other)),
        }
    }
}

/// What of a worker's report of refusals is written: no more than an honest one says.
fn believed(refusals: &[(String, String, u64)]) -> impl Iterator<Item = (&str, &str, u64)> {
    let known = refusals.iter().take(REFUSALS_MAX);
    known.map(|(source, why, count)| (short(source), short(why), (*count).min(REFUSED_MAX)))
}

/// The beginning of a text.
fn short(text: &str) -> &str {
    &text[..text.floor_char_boundary(WORDS_MAX)]
}

/// Takes what applications print, and notes that a driver will print no more; the rest is for the scheduler.
fn note_output(shared: &Shared, from: FromWorker) -> Option<FromWorker> {
    match &from.message {
        ToMaster::Output { app, source, bytes } => {
            shared.logs.write(app.app, source, bytes, shared.board.runs(app.app));
            None
        }
        ToMaster::Refusals { at, refusals } => {
            let at = format!("data server {}", short(at));
            for (source, why, count) in believed(refusals) {
                shared.audit.refused_elsewhere(source, &at, why, count);
            }
            None
        }
        ToMaster::DriverExited { app, .. } => {
            shared.logs.driver_exited(app.app);
            Some(from)
        }
        _ => Some(from),
    }
}

/// Answers a worker's requests for plugins until it has enough.
fn serve_plugins(mut stream: Socket, run_dir: &Path) -> Result<()> {
    let failed = |cause| Error::io("serving a plugin", &cause);
    stream.set_read_timeout(Some(FETCH_TIMEOUT)).map_err(failed)?;
    stream.set_write_timeout(Some(FETCH_TIMEOUT)).map_err(failed)?;
    while let Some(request) = read_frame::<PluginRequest>(&mut stream, DATA_FRAME_LEN_MAX)? {
        let mut file = match File::open(plugin_path(run_dir, request.plugin)) {
            Ok(file) => file,
            Err(cause) if cause.kind() == ErrorKind::NotFound => {
                write_frame(&mut stream, &PluginReply::Missing)?;
                continue;
            }
            Err(cause) => return Err(failed(cause)),
        };
        let bytes = file.metadata().map_err(failed)?.len();
        write_frame(&mut stream, &PluginReply::Found { bytes })?;
        std::io::copy(&mut file, &mut stream).map_err(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use firesteel_common::Payload;
    use firesteel_common::graph::{OutputOrder, StageKind, TaskCode};
    use firesteel_common::id::StageId;

    fn part(ids: std::ops::Range<u32>) -> Vec<StageSpec> {
        ids.map(|id| StageSpec {
            id: StageId(id),
            name: String::new(),
            kind: StageKind::Result,
            code: TaskCode::Sql,
            payload: Payload::empty(),
            tasks: Vec::new(),
            inputs: Vec::new(),
            order: OutputOrder::Ordered,
        })
        .collect()
    }

    #[test]
    fn an_attachment_is_put_together_and_its_parts_are_bounded() {
        let mut parts = Parts::default();
        assert_eq!(parts.gather(FromDriver::AttachPart { stages: part(0..2) }).unwrap(), None);
        assert_eq!(parts.gather(FromDriver::AttachPart { stages: part(2..3) }).unwrap(), None);
        let attach = |stages| FromDriver::Attach { stages, jobs: Vec::new() };
        assert_eq!(parts.gather(attach(part(3..5))).unwrap(), Some(attach(part(0..5))));
        assert_eq!(parts.gather(attach(part(7..8))).unwrap(), Some(attach(part(7..8))), "nothing is left");
        for _ in 0..ATTACH_PARTS_MAX {
            parts.gather(FromDriver::AttachPart { stages: part(0..1) }).unwrap();
        }
        let refused = parts.gather(FromDriver::AttachPart { stages: part(0..1) }).unwrap_err();
        assert_eq!(refused.code, ErrorCode::TooLarge);
    }

    #[test]
    fn a_report_of_refusals_is_believed_as_far_as_it_can_be_true() {
        let long = "é".repeat(1_000);
        let report = vec![(long.clone(), long, u64::MAX); REFUSALS_MAX + 10];
        let known: Vec<_> = believed(&report).collect();
        assert_eq!(known.len(), REFUSALS_MAX);
        assert!(known.iter().all(|(source, why, count)| {
            source.len() <= WORDS_MAX && why.len() <= WORDS_MAX && *count == REFUSED_MAX
        }));
    }
}
