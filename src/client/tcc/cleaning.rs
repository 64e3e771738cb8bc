//! Deleting the rows of a fence that nobody will ask for any more, now and then, as long as the client lives.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Weak;
use std::time::Duration;

use super::fence::Fence;
use crate::client::seata::Inner;
use crate::client::ticket::ticket;

/// Cleans first within a minute, then as often as rows grow old. Holds no handle of the client; ends with it.
pub(super) async fn clean(client: Weak<Inner>, fence: Fence) {
    let mut pause = first_pause();
    loop {
        let (sink, fired) = ticket();
        match client.upgrade() {
            // Nobody cancels it: it goes with the client's thread.
            Some(client) => {
                let fire = move || {
                    // This future may have been dropped meanwhile.
                    let _ = sink.send(());
                };
                drop(client.handle.after(pause, fire));
            }
            None => return,
        }
        if fired.await.is_none() {
            return;
        }
        match fence.clean().await {
            Ok(0) => {}
            Ok(rows) => log::info!("fence={fence:?} event=fence_cleaned rows={rows}"),
            Err(error) => log::warn!("fence={fence:?} event=fence_not_cleaned reason={error}"),
        }
        pause = fence.kept().max(PAUSE_LEAST);
    }
}

/// Processes that started together do not clean together.
fn first_pause() -> Duration {
    let chance = RandomState::new().build_hasher().finish();
    FIRST_WITHIN.mul_f64(chance as f64 / u64::MAX as f64)
}

/// The first time, at the latest.
const FIRST_WITHIN: Duration = Duration::from_secs(60);
/// Between two times, however short rows are kept.
const PAUSE_LEAST: Duration = Duration::from_secs(1);
