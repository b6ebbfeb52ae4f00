//! Plugins: taken in as a stream, named by their hash, described without being loaded.

use super::caller::Caller;
use super::failure::Failure;
use super::intake::Body;
use super::workers::stopping;
use super::{Daemon, parse_id};
use crate::board::no_such_plugin;
use crate::clock::wall_ms;
use crate::elf::read_descriptor;
use crate::files::{create_private, plugin_path, put_in_place};
use crate::journal::Record;
use crate::retention::remove_plugin;
use actix_web::HttpResponse;
use actix_web::web::{self, Data, Json, Path, Payload, Query};
use firesteel_common::http::PluginInfo;
use firesteel_common::id::PluginHash;
use firesteel_common::{Error, ErrorCode};
use parking_lot::Mutex;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::AsyncWriteExt;

/// The longest name of a plugin, in bytes.
const NAME_MAX: usize = 128;

/// `GET /plugins`
pub(super) async fn list(daemon: Data<Daemon>) -> Json<Vec<PluginInfo>> {
    Json(daemon.shared.board.plugins())
}

/// `GET /plugins/{hash}`
pub(super) async fn get(daemon: Data<Daemon>, hash: Path<String>) -> Result<Json<PluginInfo>, Failure> {
    let hash: PluginHash = parse_id(&hash)?;
    let plugin = daemon.shared.board.plugin(hash);
    Ok(Json(plugin.ok_or_else(|| no_such_plugin(hash))?))
}

/// What is said of an uploaded plugin.
#[derive(Deserialize)]
pub(super) struct UploadQuery {
    /// A name for it, such as that of its file: up to 128 letters, digits, `-`, `_` and `.`.
    name: Option<String>,
}

fn checked_name(name: Option<String>) -> Result<String, Error> {
    let name = name.unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.len() <= NAME_MAX && name.chars().all(plain) && name.parse::<PluginHash>().is_err() {
        return Ok(name);
    }
    let what =
        format!("the name of a plugin is up to {NAME_MAX} letters, digits, '-', '_' and '.', and no hash");
    Err(Error::new(ErrorCode::BadRequest, what))
}

/// `POST /plugins?name=NAME`: 201 for a new one, 200 for one that was here.
pub(super) async fn upload(
    daemon: Data<Daemon>,
    caller: Caller,
    query: Query<UploadQuery>,
    body: Payload,
) -> Result<HttpResponse, Failure> {
    let name = checked_name(query.into_inner().name)?;
    let _place = daemon.uploads.try_acquire().map_err(|_| {
        Error::new(ErrorCode::QueueFull, "too many plugins are being uploaded")
            .with_help("try again in a moment")
    })?;
    let upload = Upload::create(&daemon)?;
    let (hash, bytes) = upload.receive(Body::new(body, daemon.config.plugin_bytes_max)).await?;
    if let Some(known) = daemon.shared.board.plugin(hash) {
        daemon.shared.board.use_plugin(hash, wall_ms());
        return Ok(HttpResponse::Ok().json(known));
    }
    let room = daemon.placing.reserve(&daemon, hash, bytes)?;
    let (upload, descriptor) = web::block(move || {
        let descriptor = read_descriptor(&upload.path)?;
        Ok::<_, Error>((upload, descriptor))
    })
    .await
    .map_err(|_| stopping())??;
    let info = PluginInfo { hash, bytes, name, descriptor };
    let (board, place) = (daemon.shared.board.clone(), plugin_path(&daemon.run_dir, hash));
    let kept = info.clone();
    // In the order of the records, so that a removal takes away the file that it is about, and no other. A
    // crash before leaves a record without a file, which the next start forgets.
    let placed = move |()| {
        put_in_place(&upload.path, &place)?;
        board.add_plugin(kept, wall_ms());
        drop(room);
        Ok(())
    };
    daemon.write(|ack| Record::Plugin(info.clone(), ack), placed).await?;
    caller.did("upload plugin", hash);
    Ok(HttpResponse::Created().json(info))
}

/// `DELETE /plugins/{hash}`: 204 when it is gone; 409 while an application needs it.
pub(super) async fn remove(
    daemon: Data<Daemon>,
    caller: Caller,
    hash: Path<String>,
) -> Result<HttpResponse, Failure> {
    let hash: PluginHash = parse_id(&hash)?;
    remove_plugin(&daemon.shared, &daemon.run_dir, hash).await?;
    caller.did("remove plugin", hash);
    Ok(HttpResponse::NoContent().finish())
}

/// Plugins that are checked and not in their place yet, with their lengths: they count, too.
#[derive(Clone, Default)]
pub(crate) struct Placing(Arc<Mutex<BTreeMap<PluginHash, u64>>>);

/// Room for a plugin, until it is dropped.
struct Room {
    placing: Placing,
    hash: PluginHash,
}

impl Placing {
    /// Takes room for a plugin.
    fn reserve(&self, daemon: &Daemon, hash: PluginHash, bytes: u64) -> Result<Room, Error> {
        let (count_max, bytes_max) = (daemon.config.plugins_max as usize, daemon.config.plugins_bytes_max);
        let mut placing = self.0.lock();
        let others = placing.iter().filter(|(other, _)| **other != hash);
        let (count, sum) = others.fold((0, 0), |(count, sum), (_, bytes)| (count + 1, sum + bytes));
        let board = &daemon.shared.board;
        let (count, sum) = (count + board.plugin_count(), sum + board.plugin_bytes());
        if count >= count_max || sum.saturating_add(bytes) > bytes_max {
            let what = format!(
                "there is no room for a plugin of {bytes} bytes: the master keeps {count} of {sum} bytes, \
                 and at most {count_max} of {bytes_max} bytes (master.plugins_max, master.plugins_bytes_max)"
            );
            let help = "remove some that nobody needs, with DELETE /plugins/HASH, or raise the bound";
            return Err(Error::new(ErrorCode::TooLarge, what).with_help(help));
        }
        placing.insert(hash, bytes);
        Ok(Room { placing: self.clone(), hash })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.placing.0.lock().remove(&self.hash);
    }
}

/// A file on its way; removed unless it was put in its place.
struct Upload {
    path: PathBuf,
}

impl Drop for Upload {
    fn drop(&mut self) {
        // It is gone if it was put in its place; the next start removes what else is left.
        std::fs::remove_file(&self.path).ok();
    }
}

impl Upload {
    fn create(daemon: &Daemon) -> Result<Self, Error> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = daemon.run_dir.join("plugins").join(format!("upload-{number}"));
        create_private(&path)?;
        Ok(Self { path })
    }

    /// Writes the body to the file; gives its hash and its length.
    async fn receive(&self, mut body: Body) -> Result<(PluginHash, u64), Error> {
        let failed = |cause| Error::io("storing a plugin", &cause);
        let file = tokio::fs::OpenOptions::new().write(true).open(&self.path).await;
        let mut file = file.map_err(failed)?;
        let (mut hasher, mut bytes) = (Sha256::new(), 0);
        while let Some(piece) = body.next().await? {
            hasher.update(&piece);
            bytes += piece.len() as u64;
            file.write_all(&piece).await.map_err(failed)?;
        }
        file.flush().await.map_err(failed)?;
        file.sync_all().await.map_err(failed)?;
        Ok((PluginHash(hasher.finalize().into()), bytes))
    }
}
