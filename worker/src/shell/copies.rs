//! Copies of map outputs of a worker that leaves: fetched as a reader fetches them, and kept in the store.
//! Which are copied, and what becomes of them, is not decided here.

use firesteel_common::block::{BlockId, BlockKind, MapStatus, StorageLevel};
use firesteel_common::id::{AppAttemptId, TaskId};
use firesteel_common::protocol::data::BlockRequest;
use firesteel_common::protocol::hello::Role;
use firesteel_common::{Error, ErrorCode, Result};
use firesteel_net::{DataClient, Key, Transport};
use firesteel_store::{BlockStore, create_memfd};
use std::fs::File;
use std::io::Write;
use std::time::Duration;

/// How long dialling the other worker may take.
const DIAL_MAX: Duration = Duration::from_secs(3);
/// Bytes that are on their way through this process at once.
const BUFFER_LEN: usize = 256 * 1024;

/// Copies outputs one after the other; says for each whether it is in the store now.
pub fn copy(
    (transport, address, key): (&Transport, &str, &Key),
    store: &BlockStore,
    app: AppAttemptId,
    outputs: &[(TaskId, MapStatus)],
) -> Vec<(TaskId, bool)> {
    let mut client = None;
    let mut copied = Vec::with_capacity(outputs.len());
    for (task, status) in outputs {
        let connected = match client.take() {
            Some(client) => Ok(client),
            None => transport.connect(address, Role::Reader(app), key, DIAL_MAX).map(DataClient::new),
        };
        let done = connected.and_then(|mut open| copy_one(&mut open, store, task, status).map(|()| open));
        copied.push((*task, done.is_ok()));
        match done {
            Ok(open) => client = Some(open),
            Err(error) => tracing::warn!("copying the output of {task} from {address}: {error}"),
        }
    }
    copied
}

fn copy_one(client: &mut DataClient, store: &BlockStore, task: &TaskId, status: &MapStatus) -> Result<()> {
    let TaskId { app, stage, partition, attempt } = *task;
    let block = BlockId { app, kind: BlockKind::MapOutput { stage, partition, attempt } };
    client.request(&BlockRequest { block, reducers: None })?;
    let Some((found, bytes)) = client.reply()? else {
        return Err(Error::new(ErrorCode::BlockMissing, format!("{block} is not there any more")));
    };
    if !found.same_output(status) || bytes != status.bytes() {
        let message = format!("{block} is not what its worker had reported");
        return Err(Error::new(ErrorCode::BlockCorrupt, message));
    }
    let mut file = File::from(create_memfd(&format!("copy of {block}"))?);
    let mut buffer = vec![0; BUFFER_LEN.min(usize::try_from(bytes).unwrap_or(BUFFER_LEN))];
    let mut left = bytes;
    while left > 0 {
        let part = buffer.len().min(usize::try_from(left).unwrap_or(buffer.len()));
        client.read_exact(&mut buffer[..part])?;
        file.write_all(&buffer[..part]).map_err(|cause| Error::io("keeping a copy of a block", &cause))?;
        left -= part as u64;
    }
    store.put(block, file.into(), bytes, Some(status.clone()), StorageLevel::MemoryAndDisk)?;
    Ok(())
}
