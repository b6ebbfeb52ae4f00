//! Results that were too large for a message, from the data servers of the workers that hold them.

use crate::blocks::DataClient;
use crate::key::Key;
use crate::transport::Transport;
use firesteel_common::Payload;
use firesteel_common::block::{BlockId, Encoding, SegmentHeader};
use firesteel_common::error::{Error, ErrorCode, Result};
use firesteel_common::id::AppAttemptId;
use firesteel_common::protocol::data::BlockRequest;
use firesteel_common::protocol::hello::Role;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::time::Duration;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections to one worker that are kept for the next result.
const IDLE_MAX: usize = 4;

pub(super) struct Results {
    app: AppAttemptId,
    key: Key,
    transport: Transport,
    idle: Mutex<BTreeMap<String, Vec<DataClient>>>,
}

impl Results {
    pub(super) fn new(app: AppAttemptId, key: Key, transport: Transport) -> Self {
        Self { app, key, transport, idle: Mutex::default() }
    }

    /// The payload of a result block of `bytes` bytes, verified.
    pub(super) fn fetch(&self, address: &str, block: BlockId, bytes: u64) -> Result<Payload> {
        let idle = self.idle.lock().get_mut(address).and_then(Vec::pop);
        if let Some(client) = idle {
            match self.fetch_over(client, address, block, bytes) {
                // It may have been idle for too long; a new connection shows whether the worker is gone.
                Err(error) if error.code == ErrorCode::Unreachable => {}
                done => return done,
            }
        }
        let stream = self.transport.connect(address, Role::Reader(self.app), &self.key, CONNECT_TIMEOUT)?;
        self.fetch_over(DataClient::new(stream), address, block, bytes)
    }

    fn fetch_over(
        &self,
        mut client: DataClient,
        address: &str,
        block: BlockId,
        bytes: u64,
    ) -> Result<Payload> {
        client.request(&BlockRequest { block, reducers: None })?;
        let Some((_, found)) = client.reply()? else {
            let message = format!("the result {block} is not on the worker at {address} any more");
            return Err(Error::new(ErrorCode::BlockMissing, message)
                .with_help("the worker was lost or restarted after the task had ended; run the job again"));
        };
        if found != bytes {
            let message =
                format!("the result {block} has {found} bytes, not the {bytes} that were announced");
            return Err(Error::new(ErrorCode::BlockCorrupt, message));
        }
        let mut segment = buffer(bytes)?;
        client.read_exact(&mut segment)?;
        let mut idle = self.idle.lock();
        let clients = idle.entry(address.to_owned()).or_default();
        if clients.len() < IDLE_MAX {
            clients.push(client);
        }
        drop(idle);
        let (header, payload) = SegmentHeader::open(&segment).map_err(|error| error.context(block))?;
        match header.encoding {
            Encoding::Plain => Ok(Payload::from(payload)),
            Encoding::Lz4 => Err(Error::new(
                ErrorCode::BlockCorrupt,
                format!("the result {block} is packed; results are not"),
            )),
        }
    }
}

/// Zeroed memory for `bytes` bytes, or `OUT_OF_MEMORY`.
fn buffer(bytes: u64) -> Result<Vec<u8>> {
    let failed =
        || Error::new(ErrorCode::OutOfMemory, format!("a result of {bytes} bytes does not fit in memory"));
    let len = usize::try_from(bytes).map_err(|_| failed())?;
    let mut buffer = Vec::new();
    buffer.try_reserve_exact(len).map_err(|_| failed())?;
    buffer.resize(len, 0);
    Ok(buffer)
}
