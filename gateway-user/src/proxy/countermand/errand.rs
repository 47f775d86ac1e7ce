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

    /// Whether that thread is still there.
    pub(in crate::proxy) fn are_done(&self) -> bool {
        self.0.as_deref().is_some_and(|(_, alive)| alive.upgrade().is_some())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn they_are_done_from_anywhere_while_the_thread_goes_on_and_keep_it_going_until_then() {
        let (alive, mut ended) = mpsc::channel::<Infallible>(1);
        let errands = Errands::here(&alive);
        let (tell, told) = tokio::sync::oneshot::channel();
        let elsewhere = errands.clone();
        std::thread::spawn(move || {
            elsewhere.run(async move { tell.send(()).expect("it is waited for") });
            drop(alive);
        });
        told.await.expect("it is done");
        assert!(ended.recv().await.is_none(), "nothing is left to be done");
        assert!(!errands.are_done() && !Errands::default().are_done());
        errands.run(async { panic!("nobody does it") });
    }
}
