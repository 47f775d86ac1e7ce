//! TLS with a real client and a real server.

use std::{
    io::{Read, Write},
    net::Shutdown,
    sync::Arc,
};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    crypto::aws_lc_rs,
    pki_types::{PrivateKeyDer, ServerName},
};

use super::bed::Bed;

#[test]
fn a_real_client_talks_to_a_real_server() {
    const NAME: &str = "api.example.com";
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed([NAME.to_owned()]).expect("a certificate");
    let provider = Arc::new(aws_lc_rs::default_provider());
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).expect("a key");
    let server_config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("the provider has them")
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .expect("they fit");
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).expect("a certificate");
    let client_config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has them")
        .with_root_certificates(roots)
        .with_no_client_auth();

    let bed = Bed::start();
    let (client, server) = bed.pair();
    let name = ServerName::try_from(NAME).expect("a name");
    let client_end = ClientConnection::new(Arc::new(client_config), name).expect("a configuration");
    let server_end = ServerConnection::new(Arc::new(server_config)).expect("a configuration");
    let mut client = StreamOwned::new(client_end, client);
    let mut server = StreamOwned::new(server_end, server);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut asked = vec![0; 300_000];
            server.read_exact(&mut asked).expect("it comes");
            server.write_all(&asked).expect("it is open");
            server.conn.send_close_notify();
            server.flush().expect("it is open");
            server.sock.shutdown(Shutdown::Write).expect("it is open");
            server.read_to_end(&mut Vec::new()).expect("the client says that it ends");
        });
        client.write_all(&vec![7; 300_000]).expect("it is open");
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).expect("the server says that it ends");
        assert_eq!(answer, vec![7; 300_000]);
        client.conn.send_close_notify();
        client.flush().expect("it is open");
    });
    drop(client);
    let coverage = bed.coverage();
    assert_eq!(coverage.reasons.get("opaque_tls"), Some(&1));
    assert_eq!(coverage.bytes_observed, 0);
    assert!(coverage.bytes_opaque > 600_000);
}
