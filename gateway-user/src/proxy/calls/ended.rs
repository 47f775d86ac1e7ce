//! Calls that were ended before their answers were.

use super::{Arrival, Called, Calls};
use crate::{
    call::{Cancel, CancelCause, Reason, Timestamp},
    proxy::{cut::SinceTold, exchange::Ended},
};

/// That calls are ended by the gateway.
#[derive(Debug)]
pub(super) struct CalledOff {
    reason: Reason,
    since: SinceTold,
    /// What upstream had answered by then.
    status: Option<u16>,
}

impl Calls {
    /// They are to end, for that reason. Only the first one counts.
    pub(in crate::proxy) fn call_off(
        &mut self,
        reason: &Reason,
        since: SinceTold,
        status: Option<u16>,
    ) {
        let new = || Box::new(CalledOff { reason: reason.clone(), since, status });
        self.called_off.get_or_insert_with(new);
    }
}

/// How a call was ended before its answer was, if it was.
pub(super) fn cancel(
    arrival: Arrival,
    called_off: Option<&CalledOff>,
    call: &Called,
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
        Called::Tool(_) => None,
    };
    Some(Box::new(Cancel {
        cause,
        reason,
        requested_at: since.at,
        upstream_closed_ms: since.let_go.unwrap_or(at).since(since.at),
        bytes_after_cancel: since.bytes,
        generation_may_continue,
    }))
}
