//! A plain table, its columns aligned: names to the left, figures to the right.

use std::fmt;

use super::statistics::Spread;

/// Cells by row, the first row being the header.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(header: &[&str]) -> Self {
        Self { rows: vec![header.iter().map(|cell| (*cell).to_owned()).collect()] }
    }

    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let cells = |column: usize| self.rows.iter().filter_map(move |row| row.get(column));
        let widths: Vec<usize> = (0..columns)
            .map(|column| cells(column).map(|cell| cell.chars().count()).max().unwrap_or(0))
            .collect();
        for row in &self.rows {
            let cells = row.iter().zip(&widths).enumerate();
            let line: Vec<String> = cells
                .map(|(column, (cell, width))| match column {
                    0 => format!("  {cell:<width$}"),
                    _ => format!("{cell:>width$}"),
                })
                .collect();
            let line = line.join("   ");
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// `median (min–max)`, or a dash for what does not apply.
pub(super) fn spread(figure: Option<Spread>) -> String {
    figure.map_or_else(dash, |Spread { median, min, max }| {
        format!("{} ({}–{})", number(median), number(min), number(max))
    })
}

/// With a sign: what one subject has more than another.
pub(super) fn added(figure: Option<f64>) -> String {
    figure.map_or_else(dash, |figure| {
        let sign = if figure < 0.0 { "-" } else { "+" };
        format!("{sign}{}", number(figure.abs()))
    })
}

pub(super) fn ratio(figure: Option<f64>) -> String {
    figure.map_or_else(dash, |figure| format!("{figure:.2}×"))
}

/// Three digits or more, whatever the size.
pub(super) fn number(figure: f64) -> String {
    match figure {
        figure if figure < 10.0 => format!("{figure:.2}"),
        figure if figure < 100.0 => format!("{figure:.1}"),
        figure => format!("{figure:.0}"),
    }
}

fn dash() -> String {
    "–".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["", "µs"]);
        table.row(vec!["direct".into(), number(12.34)]);
        table.row(vec!["one".into(), spread(None)]);
        assert_eq!(table.to_string(), "             µs\n  direct   12.3\n  one         –\n");
    }
}
