//! A client that is not ours, where the machine has one.

use std::process::Stdio;

use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream},
    process::Command,
};

use super::{Rig, Seen, echo, within};

/// Whether curl is here and speaks HTTP/2.
async fn has_curl() -> bool {
    let version = Command::new("curl").arg("-V").output().await;
    version.is_ok_and(|version| String::from_utf8_lossy(&version.stdout).contains("HTTP2"))
}

/// A TCP connection's two ends.
async fn pair(listener: &TcpListener) -> (TcpStream, TcpStream) {
    let far = TcpStream::connect(listener.local_addr().expect("bound"));
    let (near, far) = tokio::join!(listener.accept(), far);
    (near.expect("one came").0, far.expect("it listens"))
}

#[tokio::test]
async fn curl_uploads_and_downloads_through_tcp() {
    if !has_curl().await {
        return eprintln!("SKIPPED: no curl with HTTP/2 here");
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("bound");
    let body: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 253).to_le_bytes()[0]).collect();
    let mut curl = Command::new("curl")
        .args([
            "-sS",
            "--noproxy",
            "*",
            "--http2-prior-knowledge",
            "--data-binary",
            "@-",
            "-w",
            "%{http_version}",
        ])
        .arg(format!("http://{address}/a"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    // It reads all of it before it connects.
    let mut stdin = curl.stdin.take().expect("it is piped");
    let question = body.clone();
    let writing = tokio::spawn(async move { stdin.write_all(&question).await });
    let (client, _) = within(listener.accept()).await.expect("it connects");
    let servers = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let (near, far) = pair(&servers).await;
    let (log, _) = echo(far);
    let rig = Rig::bridging(client, near, false);
    let output = within(curl.wait_with_output()).await.expect("it ends");
    writing.await.expect("no panic").expect("all is read");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let [seen] = <[Seen; 1]>::try_from(log.seen()).expect("one");
    assert!(seen.whole && seen.body == body);
    assert!(output.stdout.starts_with(&body) && output.stdout.ends_with(b"2"));
    rig.ended().await.expect("good order");
}
