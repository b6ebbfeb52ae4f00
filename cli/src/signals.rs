//! Ctrl-C and SIGTERM as messages on a channel, so that a command can stop what it has started.

use crate::failure::{Failure, Outcome};
use crossbeam::channel::{Receiver, Sender, bounded};
use std::io;

/// What the process was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Ctrl-C: whoever sits at the terminal may be asked what is meant.
    Interrupt,
    /// SIGTERM: it is to end.
    Terminate,
}

/// A channel that gets a message for every SIGINT or SIGTERM from now on.
pub fn stop_requests() -> Outcome<Receiver<Stop>> {
    let (sender, receiver) = bounded(4);
    let (ready, listening) = bounded::<io::Result<()>>(1);
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            if let Err(cause) =
                actix_web::rt::Runtime::new().and_then(|rt| rt.block_on(listen(&sender, &ready)))
            {
                let _ = ready.try_send(Err(cause));
            }
        })
        .map_err(|cause| Failure::io("starting a thread", &cause))?;
    match listening.recv() {
        Ok(Ok(())) => Ok(receiver),
        Ok(Err(cause)) => Err(Failure::io("listening for signals", &cause)),
        Err(_) => Err(Failure::io("listening for signals", &io::ErrorKind::Other.into())),
    }
}

async fn listen(sender: &Sender<Stop>, ready: &Sender<io::Result<()>>) -> io::Result<()> {
    use actix_web::rt::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let _ = ready.send(Ok(()));
    loop {
        let stop = std::future::poll_fn(|context| {
            if terminate.poll_recv(context).is_ready() {
                return std::task::Poll::Ready(Stop::Terminate);
            }
            interrupt.poll_recv(context).map(|_| Stop::Interrupt)
        })
        .await;
        if sender.send(stop).is_err() {
            return Ok(());
        }
    }
}
