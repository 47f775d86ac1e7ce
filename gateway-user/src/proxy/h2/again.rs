//! A request that is sent again without what was added to it, because upstream does not take that
//! (enforce).

use ::h2::client::{ResponseFuture, SendRequest};
use bytes::Bytes;
use http::{Request, StatusCode};

use super::half::Half;

/// The request as the client sent it, until it is known whether upstream takes the other one.
#[derive(Debug)]
pub(super) struct Again {
    pub(super) requests: SendRequest<Bytes>,
    pub(super) request: Request<()>,
    pub(super) body: Bytes,
}

impl Again {
    /// Sends it, if the answer is that upstream does not take the other one, which has gone whole. A
    /// server that says so has done nothing else.
    pub(super) fn send(mut self, status: StatusCode, up: &mut Half) -> Option<ResponseFuture> {
        if !matches!(status.as_u16(), 400 | 422) || up.is_open() {
            return None;
        }
        // If upstream has no room for one more now, its answer is passed on.
        let (response, to) = self.requests.send_request(self.request, false).ok()?;
        up.begin_again(to, self.body);
        Some(response)
    }
}
