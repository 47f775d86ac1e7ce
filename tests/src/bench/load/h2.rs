//! The load in HTTP/2.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use http::Request;
use tokio::task::JoinSet;

use super::{Bodies, Channel, Job, Source, connect, window::Window};
use crate::bench::{
    plan::{H2_STREAMS, H2_WINDOW},
    wire::{HOST, Protocol, WANTED, Wanted},
};

/// Starts a client for each nonce: on a connection of its own, or all on one.
pub(super) async fn spawn(
    job: &Job,
    protocol: Protocol,
    bodies: Bodies,
    nonces: impl Iterator<Item = u64>,
    window: &Arc<Window>,
    clients: &mut JoinSet<Result<()>>,
) -> Result<()> {
    let mut shared = None;
    for nonce in nonces {
        let sender = match &shared {
            Some(sender) => SendRequest::clone(sender),
            None => open(job).await?,
        };
        if job.channel == Channel::Http2Shared {
            shared = Some(sender.clone());
        }
        let source = Source::new(protocol, bodies)?;
        let client = Client { sender, protocol, bodies, source, nonce };
        clients.spawn(client.saturate(Arc::clone(window)));
    }
    Ok(())
}

async fn open(job: &Job) -> Result<SendRequest<Bytes>> {
    let (sender, connection) = Builder::new()
        .initial_window_size(H2_WINDOW)
        .initial_connection_window_size(H2_WINDOW * H2_STREAMS)
        .enable_push(false)
        .handshake(connect(job).await?)
        .await?;
    // What breaks it fails its streams.
    tokio::spawn(connection);
    Ok(sender)
}

/// One stream after the other.
struct Client {
    sender: SendRequest<Bytes>,
    protocol: Protocol,
    bodies: Bodies,
    source: Source,
    nonce: u64,
}

impl Client {
    async fn saturate(mut self, window: Arc<Window>) -> Result<()> {
        while !window.is_over() {
            self.exchange().await?;
            window.count();
            self.nonce += 1;
        }
        Ok(())
    }

    async fn exchange(&mut self) -> Result<()> {
        let answer = self.bodies.answer().body;
        let body = Bytes::copy_from_slice(self.source.next(self.nonce).body());
        let path = self.protocol.path().context("HTTP/2 is HTTP")?;
        let head = Request::post(format!("https://{HOST}{path}"))
            .header("accept", "application/json")
            .header("content-type", "application/json")
            .header("user-agent", "OpenAI/Python 1.99.0")
            .header("x-stainless-lang", "python")
            .header("x-stainless-retry-count", "0")
            .header("authorization", "Bearer sk-bench-000000000000")
            .header(WANTED, Wanted::Answer(answer).to_string())
            .header("content-length", body.len())
            .body(())?;
        let mut ready = self.sender.clone().ready().await?;
        let (response, mut sending) = ready.send_request(head, false)?;
        sending.send_data(body, true)?;
        let response = response.await?;
        ensure!(response.status() == 200, "the answer is {}", response.status());
        let mut body = response.into_body();
        let mut have = 0;
        while let Some(data) = body.data().await {
            let length = data?.len();
            have += length;
            body.flow_control().release_capacity(length)?;
        }
        ensure!(have == answer, "an answer of {have} bytes");
        Ok(())
    }
}
