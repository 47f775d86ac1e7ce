//! The model server's HTTP/2: each stream answered as soon as its request has ended.

use std::rc::Rc;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use h2::{RecvStream, server::SendResponse};
use http::{Request, Response};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::spawn_local,
};

use super::Answers;
use crate::bench::{
    plan::{H2_STREAMS, H2_WINDOW},
    wire::{WANTED, Wanted},
};

pub(super) async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    answers: Rc<Answers>,
) -> Result<()> {
    let mut connection = h2::server::Builder::new()
        .initial_window_size(H2_WINDOW)
        .initial_connection_window_size(H2_WINDOW * H2_STREAMS)
        .max_concurrent_streams(H2_STREAMS)
        .handshake(stream)
        .await?;
    while let Some(accepted) = connection.accept().await {
        let (request, respond) = accepted?;
        let answers = Rc::clone(&answers);
        spawn_local(async move {
            if let Err(error) = answer(request, respond, &answers).await {
                eprintln!("a stream: {error:#}");
            }
        });
    }
    Ok(())
}

async fn answer(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    answers: &Answers,
) -> Result<()> {
    let wanted = request.headers().get(WANTED).context("a request that asks for nothing")?;
    let Wanted::Answer(size) = wanted.to_str()?.parse()? else { bail!("no streams here") };
    let mut body = request.into_body();
    while let Some(data) = body.data().await {
        body.flow_control().release_capacity(data?.len())?;
    }
    let response = Response::builder()
        .header("content-type", "application/json")
        .header("content-length", size)
        .header("openai-version", "2020-10-01")
        .header("x-request-id", "req_0123456789abcdef")
        .body(())?;
    let answer = answers.bodies.get(&size).context("an answer of another size")?.clone();
    respond.send_response(response, false)?.send_data(answer, true)?;
    Ok(())
}
