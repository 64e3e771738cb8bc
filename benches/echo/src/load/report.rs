//! JSON objects of numbers and texts, for the driver to read.

/// The fields of one object.
#[derive(Default)]
pub(crate) struct Fields(Vec<String>);

impl Fields {
    pub(crate) fn number(&mut self, name: &str, value: f64) {
        let value = match value.is_finite() {
            true => format!("{value}"),
            false => "null".into(),
        };
        self.0.push(format!("\"{name}\":{value}"));
    }

    /// A text without anything to escape.
    pub(crate) fn text(&mut self, name: &str, value: &str) {
        self.0.push(format!("\"{name}\":\"{value}\""));
    }

    pub(crate) fn part(&mut self, name: &str, part: &Fields) {
        self.0.push(format!("\"{name}\":{}", part.finish()));
    }

    pub(crate) fn finish(&self) -> String {
        format!("{{{}}}", self.0.join(","))
    }
}
