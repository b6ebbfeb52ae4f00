//! The driver's side of the waist, over a link to the master.
//!
//! What the driver has asked for and not released is remembered (`session`), so that a link that breaks, or
//! a master that starts again, costs the driver nothing but time: the runner dials again with backoff,
//! attaches with all of it, and goes on. Callers do not notice, unless the master stays away for longer than
//! [`RECONNECT_TIMEOUT`].

mod fetch;
mod session;
#[cfg(test)]
mod tests;

use crate::key::Key;
use crate::link::Link;
use crate::transport::Transport;
use fetch::Results;
use firesteel_common::Payload;
use firesteel_common::block::BlockId;
use firesteel_common::error::{Error, ErrorCode, Result};
use firesteel_common::graph::StageSpec;
use firesteel_common::id::{AppAttemptId, DatasetId, JobId, StageId, WorkerId};
use firesteel_common::job::{JobEvent, JobRunner, JobSpec, Target};
use firesteel_common::protocol::driver::{FromDriver, ToDriver};
use firesteel_common::protocol::hello::Role;
use firesteel_common::task::ResultValue;
use parking_lot::{Condvar, Mutex, MutexGuard};
use session::Session;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// How long the master may be away before the driver gives up.
pub const RECONNECT_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the master may take to answer one attempt to attach.
const ATTACH_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the master may take to make an outcome durable, its absence included.
const FINISH_TIMEOUT: Duration = Duration::from_secs(120);
/// How long the address of a worker may come after its name.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(10);
/// The first pause between two attempts to attach; each is twice the last.
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// The longest pause between two attempts to attach.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// How often the master may refuse the key before the driver gives up.
const REFUSED_MAX: u32 = 4;
/// Messages to the master that may wait.
const OUTBOX: usize = 256;

/// A [`JobRunner`] whose runtime is a cluster.
pub struct RemoteJobRunner {
    shared: Arc<Shared>,
}

struct Shared {
    master: String,
    app: AppAttemptId,
    key: Key,
    transport: Transport,
    results: Results,
    /// Held while a message is put on the link, also while that waits: what is sent is in the order in which
    /// it was remembered. The link's reader never takes it.
    sending: Mutex<()>,
    state: Mutex<State>,
    /// Something in `state` changed.
    changed: Condvar,
}

type KillHook = Box<dyn FnOnce(&str) + Send>;

#[derive(Default)]
struct State {
    session: Session,
    link: Option<Link<FromDriver>>,
    /// Counts links.
    generation: u64,
    /// The last link that has ended.
    ended: u64,
    /// The master has answered over the current link.
    attached: bool,
    /// A thread is dialling, and is the only one.
    attaching: bool,
    slots: u32,
    addresses: BTreeMap<WorkerId, String>,
    committed: bool,
    /// Why nothing will come any more.
    gone: Option<Error>,
    on_kill: Option<KillHook>,
}

impl RemoteJobRunner {
    /// [`RemoteJobRunner::connect_over`] without TLS.
    ///
    /// # Errors
    /// As that.
    pub fn connect(master: &str, app: AppAttemptId, key: Key) -> Result<Arc<RemoteJobRunner>> {
        Self::connect_over(Transport::loopback(), master, app, key)
    }

    /// Attaches to the master at `master` (`host:port`) as the driver of `app`; `key` is that of the
    /// application attempt. A master that is not there yet is waited for, as when it goes away later.
    ///
    /// # Errors
    /// `UNREACHABLE` if it does not answer in time; `VERSION_MISMATCH` if it speaks another protocol.
    pub fn connect_over(
        transport: Transport,
        master: &str,
        app: AppAttemptId,
        key: Key,
    ) -> Result<Arc<RemoteJobRunner>> {
        let shared = Arc::new(Shared {
            master: master.to_owned(),
            app,
            results: Results::new(app, key.clone(), transport.clone()),
            key,
            transport,
            sending: Mutex::new(()),
            state: Mutex::new(State { attaching: true, ..State::default() }),
            changed: Condvar::new(),
        });
        attach(&Arc::downgrade(&shared), Instant::now() + RECONNECT_TIMEOUT)?;
        Ok(Arc::new(RemoteJobRunner { shared }))
    }

    /// What to do when the master says that the driver must stop at once; called with the reason, at most
    /// once, from a thread of the runner. Waiting calls of this runner end with `KILLED` in any case.
    pub fn on_kill(&self, hook: impl FnOnce(&str) + Send + 'static) {
        let mut state = self.shared.state.lock();
        match state.gone.clone() {
            Some(gone) if gone.code == ErrorCode::Killed => {
                drop(state);
                hook(&gone.message);
            }
            _ => state.on_kill = Some(Box::new(hook)),
        }
    }

    /// Ends the application with its result or its error, and waits until the master has made that durable.
    /// Nothing can be asked of the runner afterwards.
    ///
    /// # Errors
    /// `TOO_LARGE` if the result does not fit a message (another outcome may be given then); `KILLED` or
    /// `UNREACHABLE` if the outcome is not known to be durable.
    pub fn finish(&self, outcome: Result<Payload, Error>) -> Result<()> {
        let deadline = Instant::now() + FINISH_TIMEOUT;
        self.shared.tell(|session| session.finish(outcome))?;
        let mut state = self.shared.state.lock();
        while !state.committed {
            state.check()?;
            if self.shared.changed.wait_until(&mut state, deadline).timed_out() && !state.committed {
                let message = "the master has not confirmed the outcome of the application in time";
                return Err(Error::new(ErrorCode::Unreachable, message));
            }
        }
        let ended = Error::new(ErrorCode::Internal, "the application has ended already");
        state.gone.get_or_insert(ended);
        if let Some(link) = state.link.take() {
            link.close();
        }
        Ok(())
    }
}

impl State {
    fn check(&self) -> Result<()> {
        self.gone.clone().map_or(Ok(()), Err)
    }
}

impl Shared {
    /// Remembers something and tells the master. If the link is down, or breaks before the message is
    /// through, the next attachment says it.
    fn tell(&self, remember: impl FnOnce(&mut Session) -> Result<FromDriver>) -> Result<()> {
        let _sending = self.sending.lock();
        let mut state = self.state.lock();
        state.check()?;
        let message = remember(&mut state.session)?;
        let Some(link) = state.link.clone() else { return Ok(()) };
        drop(state);
        match link.send(message) {
            // The message has no frame: neither would the attachment that contains it.
            Err(error) if matches!(error.code, ErrorCode::TooLarge | ErrorCode::Codec) => Err(error),
            Err(error) => {
                tracing::debug!(%error, "left to the next attachment");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn receive(&self, message: ToDriver) {
        let mut state = self.state.lock();
        match message {
            ToDriver::Attached { slots } => {
                state.attached = true;
                state.slots = slots;
            }
            ToDriver::Job { job, event } => state.session.receive(job, event),
            ToDriver::WorkerAddress { worker, address } => {
                state.addresses.insert(worker, address);
            }
            ToDriver::Committed => state.committed = true,
            ToDriver::Kill { reason } => {
                let hook = state.on_kill.take();
                state.gone = Some(Error::new(ErrorCode::Killed, reason.clone()));
                self.changed.notify_all();
                drop(state);
                if let Some(hook) = hook {
                    hook(&reason);
                }
                return;
            }
        }
        self.changed.notify_all();
    }

    /// The link of this generation has ended. Returns whether the caller is to attach again.
    fn lost(&self, generation: u64, error: Option<Error>) -> bool {
        let mut state = self.state.lock();
        state.ended = state.ended.max(generation);
        if state.generation == generation {
            state.link = None;
            state.attached = false;
        }
        self.changed.notify_all();
        let over = state.gone.is_some() || state.committed || state.attaching;
        if over || state.generation != generation {
            return false;
        }
        state.attaching = true;
        let cause = error.map_or_else(|| "it was closed".to_owned(), |error| error.to_string());
        tracing::warn!(app = %self.app, cause, "the link to the master is gone; dialling again");
        true
    }

    /// Dials once, and says all that the session holds. Returns when the master has answered.
    fn attach_once(self: &Arc<Self>) -> Result<()> {
        let role = Role::Driver(self.app);
        let stream = self.transport.connect(&self.master, role, &self.key, ATTACH_TIMEOUT)?;
        let sending = self.sending.lock();
        let mut state = self.state.lock();
        state.generation += 1;
        let generation = state.generation;
        let messages = state.session.attach();
        drop(state);
        let (receiver, closer) = (Arc::downgrade(self), Arc::downgrade(self));
        let on_message = move |message| {
            let runner = receiver.upgrade();
            runner.as_ref().inspect(|runner| runner.receive(message)).is_some()
        };
        let on_close = move |error| {
            if closer.upgrade().is_some_and(|runner| runner.lost(generation, error)) {
                attach_again(closer);
            }
        };
        let link = Link::start(stream, "driver", OUTBOX, on_message, on_close)?;
        for message in messages {
            link.send(message)?;
        }
        let mut state = self.state.lock();
        state.link = Some(link);
        drop(sending);
        let answered = self.wait_attached(&mut state);
        if answered.is_err() {
            state.link = None;
            state.attached = false;
        }
        answered
    }

    fn wait_attached(&self, state: &mut MutexGuard<'_, State>) -> Result<()> {
        let deadline = Instant::now() + ATTACH_TIMEOUT;
        loop {
            state.check()?;
            let ended = state.ended == state.generation;
            if state.attached && !ended {
                // From here on the end of this link starts the next attachment.
                state.attaching = false;
                return Ok(());
            }
            if ended || self.changed.wait_until(state, deadline).timed_out() {
                let message = format!("the master at {} does not answer", self.master);
                return Err(Error::new(ErrorCode::Unreachable, message));
            }
        }
    }

    fn address_of(&self, worker: WorkerId) -> Result<String> {
        let deadline = Instant::now() + ADDRESS_TIMEOUT;
        let mut state = self.state.lock();
        loop {
            if let Some(address) = state.addresses.get(&worker) {
                return Ok(address.clone());
            }
            state.check()?;
            if self.changed.wait_until(&mut state, deadline).timed_out() {
                return Err(Error::new(
                    ErrorCode::Unreachable,
                    format!("the address of {worker} is not known"),
                ));
            }
        }
    }
}

/// Attaches, with backoff, until the deadline or until trying again cannot help. Keeps nothing alive while it
/// waits.
fn attach(shared: &Weak<Shared>, deadline: Instant) -> Result<()> {
    let mut pause = PAUSE_MIN;
    let mut refused = 0;
    loop {
        let Some(runner) = shared.upgrade() else { return Ok(()) };
        let error = match runner.attach_once() {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        drop(runner);
        let hopeless = match error.code {
            ErrorCode::Unreachable | ErrorCode::Io => false,
            // A master that is just being stopped may close a connection in its hello, too.
            ErrorCode::Unauthenticated => {
                refused += 1;
                refused > REFUSED_MAX
            }
            _ => true,
        };
        if hopeless || Instant::now() + pause >= deadline {
            return Err(error);
        }
        std::thread::sleep(pause);
        pause = (2 * pause).min(PAUSE_MAX);
    }
}

fn attach_again(shared: Weak<Shared>) {
    let again = shared.clone();
    let spawned = std::thread::Builder::new().name("driver-attach".to_owned()).spawn(move || {
        if let Err(error) = attach(&again, Instant::now() + RECONNECT_TIMEOUT) {
            give_up(&again, error.context("the master is gone"));
        }
    });
    if let Err(cause) = spawned {
        give_up(&shared, Error::io("starting a thread that dials the master again", &cause));
    }
}

fn give_up(shared: &Weak<Shared>, error: Error) {
    if let Some(runner) = shared.upgrade() {
        runner.state.lock().gone.get_or_insert(error);
        runner.changed.notify_all();
    }
}

impl JobRunner for RemoteJobRunner {
    fn submit(&self, job: JobSpec) -> Result<()> {
        let id = job.id;
        let told = self.shared.tell(|session| session.submit(job));
        // The master would refuse it in an attachment, too.
        if told.as_ref().is_err_and(|error| matches!(error.code, ErrorCode::TooLarge | ErrorCode::Codec)) {
            self.shared.state.lock().session.abandon(id);
        }
        told
    }

    fn extend(&self, job: JobId, stages: Vec<StageSpec>, targets: Vec<Target>, open: bool) -> Result<()> {
        self.shared.tell(|session| session.extend(job, stages, targets, open))
    }

    fn next_event(&self, job: JobId) -> Result<JobEvent> {
        let mut state = self.shared.state.lock();
        loop {
            state.check()?;
            if let Some(event) = state.session.next_event(job)? {
                return Ok(event);
            }
            self.shared.changed.wait(&mut state);
        }
    }

    fn next_event_within(&self, job: JobId, at_most: Duration) -> Result<Option<JobEvent>> {
        // A limit beyond what the clock can say is none.
        let deadline = Instant::now().checked_add(at_most);
        let mut state = self.shared.state.lock();
        loop {
            state.check()?;
            if let Some(event) = state.session.next_event(job)? {
                return Ok(Some(event));
            }
            match deadline {
                None => self.shared.changed.wait(&mut state),
                Some(deadline) if Instant::now() >= deadline => return Ok(None),
                Some(deadline) => drop(self.shared.changed.wait_until(&mut state, deadline)),
            }
        }
    }

    fn fetch(&self, value: &ResultValue) -> Result<Payload> {
        match value {
            ResultValue::Inline(payload) => Ok(payload.clone()),
            ResultValue::Block { worker, block, bytes } => {
                let address = self.shared.address_of(*worker)?;
                self.shared.results.fetch(&address, *block, *bytes)
            }
        }
    }

    fn release(&self, stages: Vec<StageId>, datasets: Vec<DatasetId>) {
        self.shared.tell_or_log(|session| session.release(stages, datasets));
    }

    fn cancel(&self, job: JobId, reason: &str) {
        self.shared.tell_or_log(|session| session.cancel(job, reason));
    }

    fn cancel_group(&self, group: &str, reason: &str) {
        self.shared.tell_or_log(|session| session.cancel_group(group, reason));
    }

    fn slots(&self) -> u32 {
        self.shared.state.lock().slots
    }

    /// The blocks of a result stage are freed together: with the last one that was received, when no job
    /// waits for more of them.
    fn release_result(&self, block: BlockId) {
        let stage = self.shared.state.lock().session.release_result(block);
        if let Some(stage) = stage {
            self.release(vec![stage], Vec::new());
        }
    }
}

impl Shared {
    /// For what has no answer: if the runtime is gone, so is what it was about.
    fn tell_or_log(&self, remember: impl FnOnce(&mut Session) -> FromDriver) {
        if let Err(error) = self.tell(|session| Ok(remember(session))) {
            tracing::debug!(%error, "not said to the master");
        }
    }
}
