//! Tables that fit a width: columns are cut, and the least important ones are left out.

use console::{measure_text_width, truncate_str};

use crate::plain::one_line;

/// The number of spaces between two columns.
const GAP: usize = 2;

/// The minimum width to which a column is cut.
const NARROWEST: usize = 8;

/// A column of a table.
#[derive(Debug, Clone)]
pub struct Column {
    title: &'static str,
    /// The importance: the column with the lowest weight is left out first.
    weight: u8,
    /// The maximum width, to which cells are cut.
    widest: usize,
    right: bool,
}

impl Column {
    /// A column of text, aligned left.
    pub fn text(title: &'static str, weight: u8, widest: usize) -> Self {
        Self { title, weight, widest, right: false }
    }

    /// A column of numbers, aligned right. It is never cut, since half a number is a different number.
    pub fn number(title: &'static str, weight: u8) -> Self {
        Self { title, weight, widest: usize::MAX, right: true }
    }
}

/// A table of text cells.
#[derive(Debug)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(columns: Vec<Column>) -> Self {
        Self { columns, rows: Vec::new() }
    }

    /// Adds a row with one cell per column. Control and format characters become spaces, since cells hold foreign text
    /// and a terminal would act on some of it.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells.into_iter().map(|cell| one_line(&cell)).collect());
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Returns the titles and the rows, none wider than `width` columns of a terminal.
    pub fn lines(&self, width: usize) -> Vec<String> {
        let shown = self.fit(width);
        let title = self.columns.iter().map(|column| column.title.to_owned()).collect();
        std::iter::once(&title).chain(&self.rows).map(|row| clip(&self.line(row, &shown), width)).collect()
    }

    /// Returns the columns to show, as pairs of index and width.
    fn fit(&self, width: usize) -> Vec<(usize, usize)> {
        let mut shown: Vec<(usize, usize)> = self
            .columns
            .iter()
            .enumerate()
            .map(|(place, column)| {
                let cells = self.rows.iter().filter_map(|row| row.get(place)).map(|cell| measure_text_width(cell));
                let widest = cells.max().unwrap_or(0).max(column.title.len());
                // Where there is no end to the width, nothing is cut.
                (place, if width == usize::MAX { widest } else { widest.min(column.widest) })
            })
            .collect();
        loop {
            let sum: usize = shown.iter().map(|(_, width)| width + GAP).sum();
            let Some(excess) = sum.saturating_sub(GAP).checked_sub(width).filter(|excess| *excess > 0) else { return shown };
            // The widest text that can still be cut is cut first.
            let texts = shown.iter_mut().filter(|(place, width)| self.is_text(*place) && *width > NARROWEST);
            if let Some((_, widest)) = texts.max_by_key(|(_, width)| *width) {
                *widest = widest.saturating_sub(excess).max(NARROWEST);
                continue;
            }
            let lightest =
                shown.iter().enumerate().min_by_key(|(_, (place, _))| self.columns.get(*place).map(|column| column.weight));
            match lightest.map(|(at, _)| at) {
                Some(at) if shown.len() > 1 => {
                    shown.remove(at);
                }
                _ => return shown,
            }
        }
    }

    fn is_text(&self, place: usize) -> bool {
        self.columns.get(place).is_some_and(|column| !column.right)
    }

    fn line(&self, row: &[String], shown: &[(usize, usize)]) -> String {
        let cells = shown.iter().map(|(place, width)| {
            let cell = clip(row.get(*place).map_or("", String::as_str), *width);
            let pad = " ".repeat(width.saturating_sub(measure_text_width(&cell)));
            if self.is_text(*place) { cell + &pad } else { pad + &cell }
        });
        cells.collect::<Vec<_>>().join(&" ".repeat(GAP)).trim_end().to_owned()
    }
}

/// Returns the text, cut to the width with a `…` if it is longer.
pub fn clip(text: &str, width: usize) -> String {
    truncate_str(&one_line(text), width, "…").into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(vec![Column::text("NAME", 9, 10), Column::number("N", 5), Column::text("WHY", 1, usize::MAX)]);
        table.row(vec!["a-very-long-name".into(), "12".into(), "because of something".into()]);
        table.row(vec!["b".into(), "3".into(), "no".into()]);
        table
    }

    #[test]
    fn texts_are_cut_before_columns_are_left_out() {
        assert_eq!(table().lines(80), ["NAME         N  WHY", "a-very-lo…  12  because of something", "b            3  no"]);
        assert_eq!(table().lines(26), ["NAME         N  WHY", "a-very-lo…  12  because o…", "b            3  no"]);
        assert_eq!(table().lines(15), ["NAME       N", "a-very-…  12", "b          3"]);
        assert!(table().lines(4).iter().all(|line| measure_text_width(line) <= 4));
    }
}
