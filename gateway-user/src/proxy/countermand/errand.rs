//! Work for the thread that carries a connection's network namespace, from whichever thread.

use std::{convert::Infallible, future::Future, sync::Arc};

use tokio::{runtime::Handle, sync::mpsc};

/// Where it is done. Clones are the same; the default has nobody who does it.
#[derive(Clone, Debug, Default)]
pub(in crate::proxy) struct Errands(Option<Arc<(Handle, mpsc::WeakSender<Infallible>)>>);

impl Errands {
    /// Done on this thread, which goes on as long as there is a sender.
    pub(in crate::proxy) fn here(alive: &mpsc::Sender<Infallible>) -> Self {
        Self(Handle::try_current().ok().map(|handle| Arc::new((handle, alive.downgrade()))))
    }

    /// Has it done, unless that thread has ended: then it is dropped.
    pub(in crate::proxy) fn run(&self, errand: impl Future<Output = ()> + Send + 'static) {
        let Some((handle, alive)) = self.0.as_deref() else { return };
        if let Some(alive) = alive.upgrade() {
            handle.spawn(async move {
                errand.await;
                drop(alive);
            });
        }
    }
}
