//! As many requests as can be answered.

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use tokio::task::JoinSet;

use super::{
    BUFFER, Bodies, Channel, Job, Sample, Source, block_on, connect, exchange, first_nonce, h2,
    window::Window,
};
use crate::bench::wire::Protocol;

pub(super) fn run(
    job: &Job,
    protocol: Protocol,
    bodies: Bodies,
    streams: u32,
    millis: u32,
) -> Result<Sample> {
    block_on(async {
        let window = Arc::new(Window::default());
        let mut clients = JoinSet::new();
        // A stream's nonces are apart from the next one's.
        let nonces = (0..streams).map(|number| first_nonce() + (u64::from(number) << 32));
        match job.channel {
            Channel::Plain | Channel::Tls | Channel::Closed => {
                for nonce in nonces {
                    let client = Client::new(job, protocol, bodies, nonce).await?;
                    clients.spawn(client.saturate(Arc::clone(&window)));
                }
            }
            Channel::Http2 | Channel::Http2Shared => {
                h2::spawn(job, protocol, bodies, nonces, &window, &mut clients).await?;
            }
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

/// One connection of HTTP/1 or of the binary protocol.
struct Client {
    stream: Box<dyn super::Io>,
    protocol: Protocol,
    bodies: Bodies,
    source: Source,
    nonce: u64,
}

impl Client {
    async fn new(job: &Job, protocol: Protocol, bodies: Bodies, nonce: u64) -> Result<Self> {
        let source = Source::new(protocol, bodies)?;
        Ok(Self { stream: connect(job).await?, protocol, bodies, source, nonce })
    }

    /// The next request as soon as the last is answered.
    async fn saturate(mut self, window: Arc<Window>) -> Result<()> {
        let mut buffer = vec![0; BUFFER];
        while !window.is_over() {
            let request = self.source.next(self.nonce).bytes();
            let answer = self.bodies.answer();
            exchange(&mut self.stream, self.protocol, request, answer, &mut buffer).await?;
            window.count();
            self.nonce += 1;
        }
        Ok(())
    }
}

const WARM_UP: Duration = Duration::from_millis(150);
