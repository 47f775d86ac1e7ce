//! Columns that line up.

use std::io::{self, Write};

use super::{Color, Screen};
use crate::control::text;

/// Rows of cells under titles. A column whose cells are all empty is left out.
#[derive(Debug, Default)]
pub(super) struct Table {
    columns: Vec<Column>,
    rows: Vec<Row>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub(super) title: &'static str,
    pub(super) align: Align,
    /// Whether the column may be cut where the terminal is narrow.
    pub(super) flexible: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

/// One line of the table, in spans of one colour each. Its text is escaped as it comes in.
#[derive(Clone, Debug, Default)]
pub(super) struct Cell(Vec<(String, Color)>);

#[derive(Debug)]
enum Row {
    Cells(Vec<Cell>),
    /// A line that belongs to the row above and keeps to no column.
    Note(Cell),
}

impl Cell {
    pub(super) fn new(text: &str) -> Self {
        Self::default().and(text, Color::Plain)
    }

    /// The cell with more text at its end.
    pub(super) fn and(mut self, text: &str, color: Color) -> Self {
        if !text.is_empty() {
            self.0.push((bounded(&text::escape(text)), color));
        }
        self
    }

    /// The cell with another one at its end.
    pub(super) fn append(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    pub(super) fn width(&self) -> usize {
        self.0.iter().map(|(text, _)| text::width(text)).sum()
    }

    /// The cell in at most so many columns, and how many it takes.
    pub(super) fn paint(&self, screen: &Screen, columns: usize) -> (String, usize) {
        let whole = self.width() <= columns;
        let mut left = if whole { columns } else { columns.saturating_sub(1) };
        let room = left;
        let mut painted = String::new();
        for (text, color) in &self.0 {
            let kept = text::prefix(text, left);
            left -= text::width(kept);
            painted.push_str(&screen.paint(kept, *color));
            if kept.len() < text.len() {
                break;
            }
        }
        let taken = room - left;
        if whole {
            return (painted, taken);
        }
        painted.push('…');
        (painted, taken + 1)
    }
}

impl Table {
    pub(super) fn new(columns: &[Column]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row: a cell for each column.
    pub(super) fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(Row::Cells(cells));
    }

    /// Adds a line that keeps to no column.
    pub(super) fn note(&mut self, note: Cell) {
        self.rows.push(Row::Note(note));
    }

    pub(super) fn write(&self, out: &mut dyn Write, screen: &Screen) -> io::Result<()> {
        let widths = self.widths(screen);
        let titles: Vec<_> = self
            .columns
            .iter()
            .map(|column| Cell::default().and(column.title, Color::Faint))
            .collect();
        self.write_cells(out, screen, &titles, &widths)?;
        for row in &self.rows {
            match row {
                Row::Cells(cells) => self.write_cells(out, screen, cells, &widths)?,
                Row::Note(note) => {
                    let columns = screen.columns.unwrap_or(usize::MAX);
                    writeln!(out, "{}", note.paint(screen, columns).0)?;
                }
            }
        }
        Ok(())
    }

    /// The width of each column on this screen; zero for one that is left out.
    fn widths(&self, screen: &Screen) -> Vec<usize> {
        let mut widths: Vec<usize> = (0..self.columns.len())
            .map(|at| {
                let widest = self.cells(at).map(Cell::width).max().unwrap_or(0);
                let title = self.columns.get(at).map_or(0, |column| text::width(column.title));
                if widest == 0 && !self.rows.is_empty() { 0 } else { widest.max(title) }
            })
            .collect();
        let Some(columns) = screen.columns else { return widths };
        let shown = widths.iter().filter(|width| **width > 0).count();
        let total = widths.iter().sum::<usize>() + shown.saturating_sub(1) * GAP.len();
        for _ in columns..total {
            let widest = widths
                .iter_mut()
                .zip(&self.columns)
                .filter(|(width, column)| column.flexible && **width > NARROWEST)
                .max_by_key(|(width, _)| **width);
            match widest {
                Some((width, _)) => *width -= 1,
                None => break,
            }
        }
        widths
    }

    fn cells(&self, at: usize) -> impl Iterator<Item = &Cell> {
        self.rows.iter().filter_map(move |row| match row {
            Row::Cells(cells) => cells.get(at),
            Row::Note(_) => None,
        })
    }

    fn write_cells(
        &self,
        out: &mut dyn Write,
        screen: &Screen,
        cells: &[Cell],
        widths: &[usize],
    ) -> io::Result<()> {
        // Blanks are written when something follows them, so that no line ends in blanks.
        let mut blanks = 0;
        let mut first = true;
        for ((cell, column), width) in cells.iter().zip(&self.columns).zip(widths) {
            if *width == 0 {
                continue;
            }
            if !first {
                blanks += GAP.len();
            }
            first = false;
            let (painted, taken) = cell.paint(screen, *width);
            let rest = width - taken;
            if column.align == Align::Right {
                blanks += rest;
            }
            if taken > 0 {
                write!(out, "{:blanks$}{painted}", "")?;
                blanks = 0;
            }
            if column.align == Align::Left {
                blanks += rest;
            }
        }
        writeln!(out)
    }
}

fn bounded(text: &str) -> String {
    let kept = text::prefix(text, WIDEST);
    if kept.len() == text.len() { text.to_owned() } else { format!("{kept}…") }
}

/// What stands between two columns.
const GAP: &str = "  ";
/// What a flexible column keeps on the narrowest terminal.
const NARROWEST: usize = 8;
/// Columns of one span, even in a pipe: an agent chooses its names, and how long they are.
const WIDEST: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::Timestamp;

    const COLUMNS: [Column; 3] = [
        Column { title: "NAME", align: Align::Left, flexible: true },
        Column { title: "NONE", align: Align::Left, flexible: false },
        Column { title: "N", align: Align::Right, flexible: false },
    ];

    fn written(columns: Option<usize>, color: bool) -> String {
        let mut table = Table::new(&COLUMNS);
        table.row(vec![Cell::new("a"), Cell::default(), Cell::new("12")]);
        table.row(vec![
            Cell::default().and("a-long-name-", Color::Good).and("indeed", Color::Bad),
            Cell::default(),
            Cell::new("3"),
        ]);
        let mut out = Vec::new();
        let screen = Screen { color, columns, now: Timestamp(0) };
        table.write(&mut out, &screen).expect("a Vec takes it all");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn columns_line_up_and_empty_ones_are_left_out() {
        assert_eq!(
            written(None, false),
            "NAME                 N\na                   12\na-long-name-indeed   3\n"
        );
    }

    #[test]
    fn a_narrow_terminal_cuts_the_flexible_column() {
        assert_eq!(written(Some(14), false), "NAME         N\na           12\na-long-na…   3\n");
    }

    #[test]
    fn a_cut_cell_still_ends_its_colour() {
        let text = written(Some(18), true);
        assert!(
            text.contains("\u{1b}[32ma-long-name-\u{1b}[0m\u{1b}[31mi\u{1b}[0m…   3"),
            "{text:?}"
        );
    }
}
