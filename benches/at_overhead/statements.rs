//! Counts the statements that sqlx sends, by what it logs.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

/// A log that keeps nothing but counts the lines that tell of a statement other than BEGIN, COMMIT and ROLLBACK.
pub(crate) struct StatementLog {
    count: AtomicU64,
    texts: Mutex<Vec<String>>,
}

pub(crate) static LOG: StatementLog = StatementLog {
    count: AtomicU64::new(0),
    texts: Mutex::new(Vec::new()),
};

impl StatementLog {
    /// Begins to listen, anew.
    pub(crate) fn listen(&self) {
        self.count.store(0, Ordering::SeqCst);
        self.texts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        log::set_max_level(log::LevelFilter::Debug);
    }

    /// Ends to listen; gives the statements heard, and their texts.
    pub(crate) fn heard(&self) -> (u64, Vec<String>) {
        log::set_max_level(log::LevelFilter::Off);
        let mut texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        (
            self.count.load(Ordering::SeqCst),
            std::mem::take(&mut *texts),
        )
    }
}

impl log::Log for StatementLog {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.target() == "sqlx::query"
    }

    fn log(&self, record: &log::Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let text = record.args().to_string();
        let is_about_the_transaction = ["BEGIN", "COMMIT", "ROLLBACK\"", "START"]
            .iter()
            .any(|word| text.contains(&format!("summary=\"{word}")));
        if !is_about_the_transaction {
            self.count.fetch_add(1, Ordering::SeqCst);
            let mut texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
            texts.push(text);
        }
    }

    fn flush(&self) {}
}
