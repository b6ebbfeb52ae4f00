//! The result of an application, as bytes.

use super::caller::Caller;
use super::failure::Failure;
use super::workers::stopping;
use super::{Daemon, parse_id};
use crate::board::no_such_app;
use crate::files::result_path;
use crate::journal::INLINE_RESULT_MAX;
use actix_web::HttpResponse;
use actix_web::body::SizedStream;
use actix_web::web::{self, Bytes, Data, Path};
use firesteel_common::http::AppState;
use firesteel_common::id::AppId;
use firesteel_common::{Error, ErrorCode};
use futures_util::stream::unfold;
use tokio::fs::File;
use tokio::io::AsyncReadExt;

/// Bytes of a result that are read at a time.
const CHUNK: usize = 256 * 1024;

/// `GET /applications/{app}/result`: the bytes; 409 before the end, the application's own error after a
/// failure.
pub(super) async fn result(
    daemon: Data<Daemon>,
    caller: Caller,
    app: Path<String>,
) -> Result<HttpResponse, Failure> {
    let app: AppId = parse_id(&app)?;
    let board = &daemon.shared.board;
    let (Some(status), Some(kind)) = (board.app(app), board.kind(app)) else {
        return Err(no_such_app(app).into());
    };
    caller.must_own(&status.owner, "result", app)?;
    let length = match (status.state, status.error, status.result_bytes) {
        (AppState::Succeeded, _, Some(length)) => length,
        (_, Some(error), _) => return Err(error.into()),
        _ => {
            let what = format!("{app} has not ended, so it has no result yet");
            let error = Error::new(ErrorCode::NotFinished, what);
            return Err(error.with_help(format!("ask for /applications/{app}?wait_ms=60000 first")).into());
        }
    };
    let content_type = if kind.sql { "application/vnd.apache.arrow.stream" } else { "application/json" };
    let mut response = HttpResponse::Ok();
    response.content_type(content_type);
    if length > INLINE_RESULT_MAX as u64 {
        return large_result(&daemon, app, length).await.map(|body| response.body(body));
    }
    let journal = daemon.shared.journal.clone();
    let bytes = web::block(move || journal.inline_result(app)).await.map_err(|_| stopping())??;
    let gone = || Error::new(ErrorCode::Internal, format!("the result of {app} is not in the journal"));
    Ok(response.body(bytes.ok_or_else(gone)?))
}

async fn large_result(
    daemon: &Daemon,
    app: AppId,
    length: u64,
) -> Result<SizedStream<impl futures_util::Stream<Item = std::io::Result<Bytes>> + 'static>, Failure> {
    let path = result_path(&daemon.run_dir, app);
    let file = File::open(&path).await;
    let file = file.map_err(|cause| Error::io(format_args!("reading {}", path.display()), &cause))?;
    Ok(SizedStream::new(
        length,
        unfold(file, |mut file| async move {
            let mut chunk = Vec::with_capacity(CHUNK);
            match (&mut file).take(CHUNK as u64).read_to_end(&mut chunk).await {
                Ok(0) => None,
                Ok(_) => Some((Ok(Bytes::from(chunk)), file)),
                Err(cause) => Some((Err(cause), file)),
            }
        }),
    ))
}
