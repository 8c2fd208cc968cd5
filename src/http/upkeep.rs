//! Upkeep: the store is looked at, or backed up, while the bus works.

use actix_web::{HttpResponse, web};
use futures_util::stream;

use super::Door;
use super::problem::{HttpError, Refusals};
use crate::bus::VerifyView;

/// What a backup is.
const BACKUP_TYPE: &str = "application/vnd.tidegate.backup";

/// Begins to look at everything on disk; while that is done, tells how far it is.
#[utoipa::path(
    post, path = "/v1/store/verify", tag = "operation", operation_id = "verify",
    responses((status = 202, description = "It has begun, or goes on", body = VerifyView), Refusals)
)]
pub(super) async fn verify(door: web::Data<Door>) -> Result<HttpResponse, HttpError> {
    Ok(HttpResponse::Accepted().json(door.bus.verify_store()?))
}

/// Tells how far the last look at the store is, or what it has found.
#[utoipa::path(
    get, path = "/v1/store/verify", tag = "operation", operation_id = "verification",
    responses((status = 200, description = "How far it is, or what was found", body = VerifyView), Refusals)
)]
pub(super) async fn verification(door: web::Data<Door>) -> Result<HttpResponse, HttpError> {
    Ok(HttpResponse::Ok().json(door.bus.verification()?))
}

/// Makes a backup of the whole store and sends it. A body that ends early is no backup; `tidegate backup` checks it.
#[utoipa::path(
    post, path = "/v1/store/backup", tag = "operation", operation_id = "backup",
    responses((status = 200, description = "The backup", body = Vec<u8>, content_type = "application/vnd.tidegate.backup"), Refusals)
)]
pub(super) async fn backup(door: web::Data<Door>) -> Result<HttpResponse, HttpError> {
    let pieces = door.bus.backup()?;
    let body =
        stream::unfold(pieces, |mut pieces| async move { pieces.recv().await.map(|piece| (piece, pieces)) });
    Ok(HttpResponse::Ok().content_type(BACKUP_TYPE).streaming(body))
}
