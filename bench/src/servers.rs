//! The servers that Tidegate's door is measured against: actix-web as the product configures it, without the bus.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use actix_web::web::{Bytes, Data, PayloadConfig};
use actix_web::{App, HttpResponse, HttpServer, web};
use tidegate::http::Settings;

use crate::Outcome;
use crate::peers::redis::Redis;
use crate::table;

/// The stream of [`front`].
const STREAM: &str = "front";

/// The configuration of the product's own server (`tidegate::http::serve`).
macro_rules! configured {
    ($server:expr, $settings:expr) => {
        $server
            .disable_signals()
            .keep_alive($settings.keep_alive)
            .h1_allow_half_closed(false)
            .client_request_timeout($settings.head_timeout)
            .shutdown_timeout($settings.shutdown_timeout.max(Duration::from_secs(1)).as_secs())
            .max_connections($settings.max_connections)
            .tcp_nodelay(true)
    };
}
/// Serves an empty POST and an empty GET until it is killed.
pub(crate) fn empty() -> Outcome<()> {
    actix_web::rt::System::new().block_on(async {
        let (listener, settings) = (listen()?, Settings::default());
        let server = HttpServer::new(|| {
            App::new()
                .route("/v1/events/{name}", web::post().to(take))
                .route("/v1/events/{id}", web::get().to(HttpResponse::Ok))
        });
        configured!(server, settings).listen(listener)?.run().await?;
        Ok(())
    })
}

/// Serves a POST that is in a Redis stream, on disk, before it is answered; until it is killed.
pub(crate) fn front(port: u16) -> Outcome<()> {
    actix_web::rt::System::new().block_on(async move {
        let (listener, settings) = (listen()?, Settings::default());
        let server = HttpServer::new(move || {
            let limit = PayloadConfig::new(1 << 20);
            // One connection for each worker, shared by its requests.
            App::new()
                .app_data(limit)
                .data_factory(move || Redis::connect(port))
                .route("/v1/events/{name}", web::post().to(put))
        });
        configured!(server, settings).listen(listener)?.run().await?;
        Ok(())
    })
}

async fn take(_body: Bytes) -> HttpResponse {
    HttpResponse::Accepted().finish()
}

async fn put(body: Bytes, redis: Data<Redis>) -> HttpResponse {
    match redis.add(STREAM, &body).await {
        Ok(()) => HttpResponse::Accepted().finish(),
        Err(error) => HttpResponse::ServiceUnavailable().body(error.to_string()),
    }
}

fn listen() -> Outcome<TcpListener> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    table::say(&format!("listening on http://{}", listener.local_addr()?));
    Ok(listener)
}
