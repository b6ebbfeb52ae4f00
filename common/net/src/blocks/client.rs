//! The requesting end of a data connection. Several requests may be under way; answers come in their order.

use crate::frame::{encode_frame, lost, read_frame};
use crate::socket::Socket;
use firesteel_common::block::MapStatus;
use firesteel_common::error::{Error, ErrorCode, Result};
use firesteel_common::protocol::data::{BlockReply, BlockRequest, DATA_FRAME_LEN_MAX};
use std::io::{BufReader, Read, Write};
use std::time::Duration;

/// How long the server may take to send the next bytes of an answer, or to read a request.
pub const DATA_TIMEOUT: Duration = Duration::from_secs(30);

/// A connection to a data server that has said hello. After an error it is of no use any more.
pub struct DataClient {
    reader: BufReader<Socket>,
    /// Bytes of the current answer that were not read yet.
    left: u64,
}

impl DataClient {
    /// A client on this connection. Every wait for the server is bounded by `DATA_TIMEOUT`.
    pub fn new(stream: impl Into<Socket>) -> DataClient {
        let stream = stream.into();
        let bounded = stream
            .set_read_timeout(Some(DATA_TIMEOUT))
            .and_then(|()| stream.set_write_timeout(Some(DATA_TIMEOUT)));
        if let Err(cause) = bounded {
            tracing::warn!(%cause, "a data connection takes no timeout");
        }
        DataClient { reader: BufReader::with_capacity(16 * 1024, stream), left: 0 }
    }

    /// Sends a request. The server reads the next one only when its answer to the last is on its way, so
    /// whoever sends several must bound the bytes that it asks for.
    ///
    /// # Errors
    /// `UNREACHABLE` if the server is gone or does not read.
    pub fn request(&mut self, request: &BlockRequest) -> Result<()> {
        let frame = encode_frame(request)?;
        self.reader.get_mut().write_all(&frame).map_err(|cause| lost("asking for a block", &cause))
    }

    /// The answer to the oldest request that was not answered yet: the index of the segments asked for (empty
    /// for a block that is not a map output), and how many bytes follow, to be taken with
    /// [`DataClient::read_exact`] before the next answer. `None` if the server does not hold the block.
    ///
    /// # Errors
    /// `UNREACHABLE` if the server is gone or too slow; `CODEC` if it sends what is no answer; `INTERNAL` if
    /// bytes of the last answer were not taken.
    pub fn reply(&mut self) -> Result<Option<(MapStatus, u64)>> {
        if self.left > 0 {
            let message = format!("{} bytes of the last block were not taken", self.left);
            return Err(Error::new(ErrorCode::Internal, message));
        }
        match read_frame::<BlockReply>(&mut self.reader, DATA_FRAME_LEN_MAX)? {
            Some(BlockReply::Found { bytes, segments, .. }) => {
                self.left = bytes;
                Ok(Some((segments, bytes)))
            }
            Some(BlockReply::Missing) => Ok(None),
            None => Err(Error::new(
                ErrorCode::Unreachable,
                "waiting for a block: the server closed the connection",
            )),
        }
    }

    /// Takes the next bytes of the current answer.
    ///
    /// # Errors
    /// `UNREACHABLE` if the server is gone or too slow; `INTERNAL` if the answer has fewer bytes left.
    pub fn read_exact(&mut self, buffer: &mut [u8]) -> Result<()> {
        let Some(left) = self.left.checked_sub(buffer.len() as u64) else {
            let message =
                format!("{} bytes were asked for of a block that has {} left", buffer.len(), self.left);
            return Err(Error::new(ErrorCode::Internal, message));
        };
        self.reader.read_exact(buffer).map_err(|cause| lost("receiving a block", &cause))?;
        self.left = left;
        Ok(())
    }
}
