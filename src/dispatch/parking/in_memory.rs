//! The rows of one parking that are in memory.

use std::collections::HashMap;

use crate::dispatch::keys::PartnerKey;

/// The rows of a parking that are in memory, by partner.
#[derive(Debug, Default)]
pub struct InMemory {
    rows: usize,
    of: HashMap<PartnerKey, usize>,
}

impl InMemory {
    /// Returns the number of all rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Returns the partners that have rows in memory, each with their number.
    pub fn by_partner(&self) -> impl Iterator<Item = (PartnerKey, usize)> + '_ {
        self.of.iter().map(|(partner, rows)| (*partner, *rows))
    }

    /// Counts a row that came in.
    pub fn enters(&mut self, partner: PartnerKey) {
        self.rows += 1;
        *self.of.entry(partner).or_default() += 1;
    }

    /// Counts a row that has left.
    pub fn leaves(&mut self, partner: PartnerKey) {
        self.rows = self.rows.saturating_sub(1);
        if let Some(rows) = self.of.get_mut(&partner) {
            *rows -= 1;
            if *rows == 0 {
                self.of.remove(&partner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::slab::Slab;

    #[test]
    fn rows_are_counted_by_partner_until_the_last_has_left() {
        let mut slab = Slab::default();
        let [a, b] = [(); 2].map(|()| PartnerKey(slab.insert(())));
        let mut rows = InMemory::default();
        [a, b, a].into_iter().for_each(|partner| rows.enters(partner));
        rows.leaves(b);
        assert_eq!((rows.rows(), rows.by_partner().collect::<Vec<_>>()), (2, vec![(a, 2)]));
        [a, a].into_iter().for_each(|partner| rows.leaves(partner));
        assert_eq!((rows.rows(), rows.by_partner().count()), (0, 0));
    }
}
