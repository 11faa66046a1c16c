//! The table at the end: what was measured, and whether it is what the design asks for.

/// The rows so far.
#[derive(Default)]
pub struct Summary(Vec<Row>);

/// One row.
pub struct Row {
    /// What was measured.
    pub what: String,
    /// The figure.
    pub measured: String,
    /// What it should be.
    pub target: Target,
}

/// What a figure should be.
pub enum Target {
    /// Not above a limit.
    AtMost {
        /// The limit.
        limit: f64,
        /// The figure.
        is: f64,
        /// The limit as it is printed.
        text: &'static str,
    },
}

impl Summary {
    /// Adds a row.
    pub fn add(&mut self, row: Row) {
        self.0.push(row);
    }

    /// Prints the table, ready to be pasted into a page.
    pub fn print(&self) {
        println!("\n| what | measured | target | |\n|---|---|---|---|");
        for Row { what, measured, target: Target::AtMost { limit, is, text } } in &self.0 {
            let verdict = if is <= limit { "met" } else { "NOT MET" };
            println!("| {what} | {measured} | {text} | {verdict} |");
        }
    }
}
