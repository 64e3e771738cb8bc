//! Texts that many transactions share, kept once: applications, groups, resources, clients.

use std::collections::HashSet;

use crate::proto::Text;

/// Gives equal texts one buffer. Texts that nobody uses any more are swept out when the table has doubled since the last
/// sweep, so it stays in proportion to what is in use.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    known: HashSet<Text>,
    sweep_at: usize,
}

impl Texts {
    pub(crate) fn shared(&mut self, text: &Text) -> Text {
        if text.as_bytes().is_empty() {
            return Text::new();
        }
        if let Some(known) = self.known.get(text) {
            return known.clone();
        }
        if self.known.len() >= self.sweep_at.max(SWEEP_MIN) {
            self.known.retain(|text| !text.is_unique());
            self.sweep_at = self.known.len() * 2;
        }
        let own = text.detached();
        self.known.insert(own.clone());
        own
    }
}

const SWEEP_MIN: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unused_texts_are_swept_and_used_ones_stay_shared() {
        let mut texts = Texts::default();
        let kept = texts.shared(&Text::from("resource"));
        for i in 0..10 * SWEEP_MIN {
            texts.shared(&Text::from(format!("client {i}")));
        }
        assert!(texts.known.len() <= 2 * SWEEP_MIN, "{}", texts.known.len());
        let again = texts.shared(&Text::from("resource"));
        assert_eq!(again.as_bytes().as_ptr(), kept.as_bytes().as_ptr());
    }
}
