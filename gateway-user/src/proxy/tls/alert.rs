//! TLS alerts (RFC 8446, section 6).

use std::io;

use rustls::AlertDescription;
use tokio::net::TcpStream;

use crate::proxy::connect::end_on_drop;

/// Tells a client that has only said hello that there will be no TLS, and why.
pub(in crate::proxy) fn refuse(client: &TcpStream, why: AlertDescription) {
    const ALERT: u8 = 21;
    const FATAL: u8 = 2;

    // The connection is new: there is room for so little, or nobody who reads it.
    let _ = client.try_write(&[ALERT, 3, 3, 0, 2, FATAL, u8::from(why)]);
    end_on_drop(client);
}

/// The alert in which the other side's end of a handshake came, if it came in one.
pub(super) fn received(error: &io::Error) -> Option<AlertDescription> {
    match error.get_ref()?.downcast_ref()? {
        rustls::Error::AlertReceived(alert) => Some(*alert),
        _ => None,
    }
}
