//! As many requests as can be answered.

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use tokio::task::JoinSet;

use super::{
    Answer, BUFFER, Job, Sample, block_on, connect, exchange, first_nonce, window::Window,
};
use crate::bench::wire::{Protocol, Request, Wanted};

pub(super) fn run(
    job: &Job,
    protocol: Protocol,
    bytes: usize,
    connections: u32,
    millis: u32,
) -> Result<Sample> {
    block_on(async {
        let window = Arc::new(Window::default());
        let mut clients = JoinSet::new();
        let first = first_nonce();
        for number in 0..u64::from(connections) {
            let mut stream = connect(job.address).await?;
            let mut request = Request::new(protocol, bytes, Wanted::Answer(bytes))?;
            let window = Arc::clone(&window);
            clients.spawn(async move {
                let mut buffer = vec![0; BUFFER];
                // A connection's nonces are apart from the next one's.
                let mut nonce = first + (number << 32);
                while !window.is_over() {
                    let answer = Answer { body: bytes };
                    let bytes = request.with_nonce(nonce);
                    exchange(&mut stream, protocol, bytes, answer, &mut buffer).await?;
                    window.count();
                    nonce += 1;
                }
                Ok(())
            });
        }
        tokio::time::sleep(WARM_UP).await;
        let sample = window.measure(Duration::from_millis(millis.into()), job.watched).await?;
        while let Some(ended) = clients.join_next().await {
            let ended: Result<()> = ended?;
            ended?;
        }
        Ok(sample)
    })
}

const WARM_UP: Duration = Duration::from_millis(150);
