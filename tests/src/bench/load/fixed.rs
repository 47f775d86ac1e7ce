//! Requests at a fixed rate. Each connection has a thread that blocks: a runtime's timers, of a
//! millisecond, would be most of what is measured.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    num::NonZeroU64,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};

use super::{Answer, BUFFER, Job, Sample, first_nonce, window::Meter};
use crate::bench::{
    statistics::Percentiles,
    wire::{Protocol, Request, Wanted},
};

pub(super) fn run(
    job: &Job,
    protocol: Protocol,
    bytes: usize,
    connections: u32,
    per_second: u32,
    total: u64,
) -> Result<Sample> {
    let mut clients = Vec::new();
    for number in 0..connections {
        let mut client = Client::connect(job, protocol, bytes)?;
        client.exchange(u64::from(number))?;
        clients.push(client);
    }
    let meter = Meter::start(job.watched)?;
    let start = Instant::now() + Duration::from_millis(10);
    let period = Duration::from_secs(1) / per_second;
    let threads: Vec<_> = (0..connections)
        .zip(clients)
        .map(|(first, client)| {
            let due = Due { start: start + period * first, period: period * connections };
            let count = total / u64::from(connections);
            thread::spawn(move || client.keep_rate(due, count))
        })
        .collect();
    let mut delays = Vec::new();
    for thread in threads {
        delays.extend(thread.join().map_err(|_| anyhow!("a client panicked"))??);
    }
    let sample = meter.stop(u64::try_from(delays.len())?)?;
    Ok(Sample { delays: Percentiles::of(delays), ..sample })
}

/// When a connection's requests should be sent.
#[derive(Clone, Copy, Debug)]
struct Due {
    start: Instant,
    period: Duration,
}

#[derive(Debug)]
struct Client {
    stream: TcpStream,
    protocol: Protocol,
    request: Request,
    answer: Answer,
    first_nonce: u64,
    buffer: Vec<u8>,
}

impl Client {
    fn connect(job: &Job, protocol: Protocol, bytes: usize) -> Result<Self> {
        let stream = TcpStream::connect(job.address).context("can't connect")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        Ok(Self {
            stream,
            protocol,
            request: Request::new(protocol, bytes, Wanted::Answer(bytes))?,
            answer: Answer { body: bytes },
            first_nonce: first_nonce(),
            buffer: vec![0; BUFFER],
        })
    }

    /// The delays in nanoseconds.
    fn keep_rate(mut self, due: Due, count: u64) -> Result<Vec<u64>> {
        // By default the kernel may let a sleeper sleep 50 µs longer.
        rustix::thread::set_current_timer_slack(NonZeroU64::new(1))?;
        let mut delays = Vec::new();
        let mut intended = due.start;
        for number in 0..count {
            thread::sleep(intended.saturating_duration_since(Instant::now()));
            self.exchange(number)?;
            delays.push(u64::try_from(intended.elapsed().as_nanos())?);
            intended += due.period;
        }
        Ok(delays)
    }

    fn exchange(&mut self, number: u64) -> Result<()> {
        self.stream.write_all(self.request.with_nonce(self.first_nonce + number))?;
        let mut have = 0;
        loop {
            let read = self.stream.read(&mut self.buffer[have..])?;
            ensure!(read > 0, "the connection ended before the answer");
            have += read;
            match self.answer.check(self.protocol, &self.buffer[..have])? {
                Some(length) if have == length => return Ok(()),
                Some(length) => ensure!(have < length, "more than an answer"),
                None => {}
            }
        }
    }
}
