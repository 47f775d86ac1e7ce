//! Which names an agent's addresses go by: from its DNS answers into the directory.

use std::sync::Arc;

use crate::{
    attach::ebpf::{Answers, EbpfFailure, Hooks},
    names::{Directory, Heard},
    proxy::Clock,
};

/// Begins to read the answers. The runtime ends it.
pub(super) fn listen(
    hooks: &Hooks,
    directory: Arc<Directory>,
    clock: Clock,
) -> Result<(), EbpfFailure> {
    tokio::spawn(learn(hooks.answers()?, directory, clock));
    Ok(())
}

async fn learn(mut answers: Answers, directory: Arc<Directory>, clock: Clock) {
    loop {
        match answers.next().await {
            Ok(answer) => {
                let heard = Heard {
                    agent: answer.agent,
                    from: answer.from,
                    netns: answer.netns,
                    over_loopback: answer.over_loopback,
                    message: &answer.message,
                };
                let count = directory.learn(&heard, clock.now());
                tracing::debug!(agent = answer.agent, from = %answer.from, count, "DNS answer");
            }
            Err(error) => {
                tracing::error!(%error, "DNS answers can't be read any more");
                return;
            }
        }
    }
}
