//! `peer`: both ends of plain TCP connections, for tests of who reaches whom. A server says in its
//! first line who it is and whom it sees; a client compares that with whom it asked for.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use clap::{Args, Parser};
use serde_json::json;
use socket2::{Domain, SockRef, Socket, Type};
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream as AsyncStream},
};
use turnpike_tests::peer::{Called, Tally, Try};

#[derive(Debug, Parser)]
#[command(about = "Connects, and says who was reached")]
enum Arguments {
    /// Listen, and tell every client who it reached and where it came from; then echo
    Serve {
        #[arg(required = true)]
        addresses: Vec<SocketAddr>,
    },
    /// Connect once to each, and tell all about it
    Call(Calls),
    /// Connect so often, all at the same time
    Many {
        #[command(flatten)]
        calls: Calls,
        #[arg(long)]
        connections: usize,
    },
    /// Connect so often, one after the other, and end each with a reset, which frees its port
    Reuse {
        #[command(flatten)]
        calls: Calls,
        #[arg(long)]
        connections: usize,
    },
    /// Connect, and wait for the end of the connection; say which kind of end it was
    Hold(Calls),
    /// Connect again and again until killed, and tell of each try
    Load(Calls),
}

#[derive(Debug, Args)]
struct Calls {
    /// Bind to this address first
    #[arg(long)]
    from: Option<IpAddr>,
    /// Ask for IPv4 addresses in their IPv6-mapped form
    #[arg(long)]
    mapped: bool,
    #[arg(required = true)]
    destinations: Vec<SocketAddr>,
}

fn main() -> anyhow::Result<()> {
    allow_many_files()?;
    match Arguments::parse() {
        Arguments::Serve { addresses } => serve(&addresses),
        Arguments::Call(calls) => {
            for destination in &calls.destinations {
                let (called, _) = calls.call(*destination)?;
                println!("{}", serde_json::to_string(&called)?);
            }
            Ok(())
        }
        Arguments::Many { calls, connections } => print(&many(&calls, connections)),
        Arguments::Reuse { calls, connections } => print(&reuse(&calls, connections)),
        Arguments::Hold(calls) => hold(&calls),
        Arguments::Load(calls) => load(&calls),
    }
}

fn print(tally: &Tally) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string(tally)?);
    Ok(())
}

impl Calls {
    /// Connects and reads the server's first line.
    fn call(&self, destination: SocketAddr) -> anyhow::Result<(Called, TcpStream)> {
        let stream = self.connect(destination)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut line = String::new();
        // One byte at a time: nothing after the line may be lost in a buffer.
        BufReader::with_capacity(1, &stream).read_line(&mut line)?;
        let (server, seen) = line.trim_end().split_once(' ').context("the server said nothing")?;
        let called = Called {
            asked: destination,
            reached: server.parse()?,
            own: canonical(stream.local_addr()?),
            seen: seen.parse()?,
            peername: stream.peer_addr()?,
        };
        Ok((called, stream))
    }

    fn connect(&self, destination: SocketAddr) -> std::io::Result<TcpStream> {
        let form = |ip| match ip {
            IpAddr::V4(ip) if self.mapped => IpAddr::V6(ip.to_ipv6_mapped()),
            ip => ip,
        };
        let to = SocketAddr::new(form(destination.ip()), destination.port());
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
        if let Some(from) = self.from {
            socket.bind(&SocketAddr::new(form(from), 0).into())?;
        }
        socket.connect(&to.into())?;
        Ok(socket.into())
    }

    /// The destinations, over and over.
    fn around(&self, connections: usize) -> impl Iterator<Item = SocketAddr> {
        self.destinations.iter().copied().cycle().take(connections)
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn many(calls: &Calls, connections: usize) -> Tally {
    let mut tally = Tally::default();
    let mut open = Vec::new();
    for destination in calls.around(connections) {
        open.extend(tally.count(calls.call(destination)));
    }
    // Each connection is written to before any is read from.
    for (number, stream) in open.iter_mut().enumerate() {
        if let Err(error) = stream.write_all(&number.to_be_bytes()) {
            tally.fail(&error.into());
        }
    }
    for (number, stream) in open.iter_mut().enumerate() {
        let mut echo = [0; size_of::<usize>()];
        match stream.read_exact(&mut echo) {
            Ok(()) if echo == number.to_be_bytes() => {}
            Ok(()) => tally.misdirected += 1,
            Err(error) => tally.fail(&error.into()),
        }
    }
    tally
}

fn reuse(calls: &Calls, connections: usize) -> Tally {
    let mut tally = Tally::default();
    for destination in calls.around(connections) {
        if let Some(stream) = tally.count(calls.call(destination)) {
            // Dropping the stream says so already, should this fail.
            let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        }
    }
    tally
}

fn hold(calls: &Calls) -> anyhow::Result<()> {
    let (called, mut stream) = calls.call(calls.destinations[0])?;
    println!("{}", serde_json::to_string(&called)?);
    stream.set_read_timeout(None)?;
    match stream.read(&mut [0; 1]) {
        Ok(read) => println!("{read} bytes"),
        Err(error) => println!("{:?}", error.kind()),
    }
    Ok(())
}

fn load(calls: &Calls) -> anyhow::Result<()> {
    let start = Instant::now();
    loop {
        for destination in &calls.destinations {
            let result = match calls.call(*destination) {
                Ok((called, _)) if called.is_direct() => "direct".to_owned(),
                Ok(_) => "proxied".to_owned(),
                Err(error) => kind(&error),
            };
            let mut out = std::io::stdout().lock();
            let at_us = u64::try_from(start.elapsed().as_micros())?;
            writeln!(out, "{}", serde_json::to_string(&Try { at_us, result })?)?;
            drop(out);
            std::thread::sleep(PACE);
        }
    }
}

/// The kernel's word for an error.
fn kind(error: &anyhow::Error) -> String {
    match error.downcast_ref::<std::io::Error>() {
        Some(error) => format!("{:?}", error.kind()),
        None => format!("{error:#}"),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn serve(addresses: &[SocketAddr]) -> anyhow::Result<()> {
    ensure!(!addresses.is_empty(), "there is nothing to listen on");
    let mut bound = Vec::new();
    for address in addresses {
        let listener = TcpListener::bind(address).await.with_context(|| address.to_string())?;
        bound.push(listener.local_addr()?);
        tokio::spawn(async move {
            loop {
                match listener.accept().await {
                    Ok((stream, seen)) => drop(tokio::spawn(answer(stream, seen))),
                    Err(error) => eprintln!("accept: {error}"),
                }
            }
        });
    }
    println!("{}", json!(bound));
    std::future::pending().await
}

async fn answer(mut stream: AsyncStream, seen: SocketAddr) -> std::io::Result<()> {
    let own = stream.local_addr()?;
    stream.set_nodelay(true)?;
    stream.write_all(format!("{} {}\n", canonical(own), canonical(seen)).as_bytes()).await?;
    let (mut read, mut write) = stream.split();
    tokio::io::copy(&mut read, &mut write).await.map(drop)
}

fn allow_many_files() -> anyhow::Result<()> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}

/// No server here takes so long to say who it is.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two tries under load.
const PACE: Duration = Duration::from_millis(1);
