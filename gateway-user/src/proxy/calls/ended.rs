//! Calls that were ended before their answers were.

use super::{Arrival, Called, Calls, Running};
use crate::{
    call::{Cancel, CancelCause, CancelRequest, Cause, Reason, Timestamp, UpstreamTold},
    proxy::{countermand::Dispatch, cut::SinceTold, exchange::Ended},
};

/// That calls are ended by the gateway.
#[derive(Debug)]
pub(super) struct CalledOff {
    pub(super) reason: Reason,
    since: SinceTold,
    /// What upstream had answered by then.
    status: Option<u16>,
}

impl CalledOff {
    pub(super) fn new(reason: &Reason, since: SinceTold, status: Option<u16>) -> Self {
        Self { reason: reason.clone(), since, status }
    }
}

impl Calls {
    /// They are to end, for that reason. Only the first one counts.
    pub(in crate::proxy) fn call_off(
        &mut self,
        reason: &Reason,
        since: SinceTold,
        status: Option<u16>,
    ) {
        let new = || Box::new(CalledOff::new(reason, since, status));
        self.called_off.get_or_insert_with(new);
    }
}

impl Running {
    /// Whether upstream can be asked to end it, and is to be for that reason. A gateway that ends leaves
    /// to the clients what becomes of their calls.
    pub(super) fn can_be_recalled(&self, reason: &Reason) -> bool {
        let response = self.response();
        let recall = self.recall.as_ref().filter(|_| reason.cause != Cause::Ending);
        recall.is_some_and(|recall| recall.can_be_sent(response, reason))
    }

    fn response(&self) -> Option<&str> {
        self.left.as_ref()?.response.as_deref()
    }
}

/// What upstream is to be asked, if that is how it is to learn that the call has ended.
pub(super) fn recalled(running: &mut Running, called_off: Option<&CalledOff>) -> Option<Dispatch> {
    let CalledOff { reason, .. } = called_off?;
    let recall =
        if running.can_be_recalled(reason) { running.recall.take()? } else { return None };
    recall.dispatch(running.response(), reason)
}

/// How upstream learns that a call has ended.
pub(super) const fn told(running: &Running, is_asked: bool) -> UpstreamTold {
    match running {
        _ if is_asked => UpstreamTold::CancelRequest,
        Running { left: Some(_), .. } => UpstreamTold::None,
        Running { in_stream: true, .. } => UpstreamTold::Reset,
        Running { .. } => UpstreamTold::Closed,
    }
}

/// How a call was ended before its answer was, if it was.
pub(super) fn cancel(
    arrival: Arrival,
    called_off: Option<&CalledOff>,
    (call, told): (&Called, UpstreamTold),
    at: Timestamp,
) -> Option<Box<Cancel>> {
    let (cause, reason, since, status) = match called_off {
        Some(CalledOff { reason, since, status }) => {
            (reason.cause.into(), Some(reason.to_string()), *since, *status)
        }
        None if arrival.ended == Ended::ClientGone => {
            (CancelCause::ClientGone, None, SinceTold::now(at), arrival.status)
        }
        None => return None,
    };
    let generation_may_continue = match call {
        Called::Model(order) => Some(order.may_go_on(status)),
        Called::Tool(_) | Called::Replayed => None,
    };
    Some(Box::new(Cancel {
        cause,
        reason,
        requested_at: since.at,
        upstream_closed_ms: Some(since.let_go.unwrap_or(at).since(since.at)),
        bytes_after_cancel: since.bytes,
        generation_may_continue,
        upstream_told: Some(told),
        cleanup_ms: Some(at.since(since.at)),
        cancel_request: (told == UpstreamTold::CancelRequest).then_some(CancelRequest::PENDING),
    }))
}
