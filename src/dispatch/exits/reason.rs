//! Why a copy is returned to its queue.

/// The reason of a return: a label of `octoconf_messages_returned_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReturnReason {
    /// The handler asked for a retry later.
    Handler,
    /// The partner is away, and others need the room.
    PartnerUnavailable,
    /// The partner accepts deliveries, but fewer than come for it, and others need the room.
    PartnerTooSlow,
    /// The copy is a row of a parking: it leaves memory and stays on the disk.
    Parked,
    /// The queue's longest lease is about to end.
    HeldTooLong,
    /// The message would be a dead letter, but its queue has no place for those.
    Circulates,
    /// Another consumer had the message meanwhile, or has settled a part of it: it is to be received again.
    Elsewhere,
    /// The message follows an earlier one of its FIFO group.
    Group,
    /// A reload removed the queue.
    Retiring,
    /// The service stops.
    Stopping,
}

impl ReturnReason {
    /// All reasons, in the order in which they are shown.
    pub const ALL: [Self; 10] = [
        Self::Handler,
        Self::PartnerUnavailable,
        Self::PartnerTooSlow,
        Self::Parked,
        Self::HeldTooLong,
        Self::Circulates,
        Self::Elsewhere,
        Self::Group,
        Self::Retiring,
        Self::Stopping,
    ];

    /// Returns whether the copy goes back through no doing of its own, so that its receive must bring nothing nearer to its
    /// end.
    pub fn spares_receive(self) -> bool {
        match self {
            Self::Elsewhere | Self::Group | Self::Retiring | Self::Stopping => true,
            Self::Handler
            | Self::PartnerUnavailable
            | Self::PartnerTooSlow
            | Self::Parked
            | Self::HeldTooLong
            | Self::Circulates => false,
        }
    }

    /// Returns the reason's name in metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Handler => "handler",
            Self::PartnerUnavailable => "partner_unavailable",
            Self::PartnerTooSlow => "partner_too_slow",
            Self::Parked => "parked",
            Self::HeldTooLong => "held_too_long",
            Self::Circulates => "circulates",
            Self::Elsewhere => "elsewhere",
            Self::Group => "group",
            Self::Retiring => "retiring",
            Self::Stopping => "stopping",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::dead::DeadKind;

    /// Returns the words in backquotes in the first column of the table with this header.
    fn documented(header: &str) -> Vec<String> {
        const README: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md"));
        let rows = README.lines().skip_while(|line| !line.starts_with(header)).skip(2).take_while(|line| line.starts_with('|'));
        let cells = rows.map(|row| row.split('|').nth(1).unwrap_or_default().to_owned());
        cells.flat_map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>()).collect()
    }

    #[test]
    fn the_readme_has_every_reason() {
        let mut returns: Vec<_> = ReturnReason::ALL.iter().map(|reason| reason.word().to_owned()).collect();
        let mut documented_returns = documented("| reason of a return");
        returns.sort();
        documented_returns.sort();
        assert_eq!(documented_returns, returns);
        // These two come from SQS, not from here.
        let foreign = ["moved".to_owned(), "unknown".to_owned()];
        let mut letters: Vec<_> = DeadKind::ALL.iter().map(|kind| kind.word().to_owned()).chain(foreign).collect();
        let mut documented_letters = documented("| reason of a dead letter");
        letters.sort();
        documented_letters.sort();
        assert_eq!(documented_letters, letters);
    }
}
