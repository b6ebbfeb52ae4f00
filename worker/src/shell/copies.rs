//! Copies of blocks of another worker, which leaves or whose cached partitions are to have replicas: fetched
//! as a reader fetches them, and kept in the store. Which are copied, and what becomes of them, is not
//! decided here.

use firesteel_common::block::{BlockCopy, BlockId};
use firesteel_common::id::AppAttemptId;
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

/// Copies blocks one after the other; gives for each its bytes if it is in the store now.
pub fn copy(
    (transport, address, key): (&Transport, &str, &Key),
    store: &BlockStore,
    app: AppAttemptId,
    blocks: &[BlockCopy],
) -> Vec<(BlockId, Option<u64>)> {
    let mut client = None;
    let mut copied = Vec::with_capacity(blocks.len());
    for copy in blocks {
        let connected = match client.take() {
            Some(client) => Ok(client),
            None => transport.connect(address, Role::Reader(app), key, DIAL_MAX).map(DataClient::new),
        };
        let done = connected.and_then(|mut open| Ok((copy_one(&mut open, store, copy)?, open)));
        let block = copy.block;
        match done {
            Ok((bytes, open)) => {
                client = Some(open);
                copied.push((block, bytes));
            }
            Err(error) => {
                tracing::warn!("copying {block} from {address}: {error}");
                copied.push((block, None));
            }
        }
    }
    copied
}

/// Copies a block; `None` if it is a cached partition for which there is no room.
fn copy_one(client: &mut DataClient, store: &BlockStore, copy: &BlockCopy) -> Result<Option<u64>> {
    let BlockCopy { block, status, level } = copy;
    client.request(&BlockRequest { block: *block, reducers: None })?;
    let Some((found, bytes)) = client.reply()? else {
        return Err(Error::new(ErrorCode::BlockMissing, format!("{block} is not there any more")));
    };
    if status.as_ref().is_some_and(|status| !found.same_output(status) || bytes != status.bytes()) {
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
    Ok(store.put(*block, file.into(), bytes, status.clone(), *level)?.then_some(bytes))
}
