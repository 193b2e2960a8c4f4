-- Schema version 1. Never edited once released: a later version is a step of its own, applied after this one.

CREATE TABLE queues (
    id   INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
);

CREATE TABLE parked (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT, -- the receipts' row; never used twice
    queue      INTEGER NOT NULL,
    account    TEXT NOT NULL,
    place      INTEGER NOT NULL,                  -- in the account's line; there is room between two for what is older than the second
    message_id TEXT NOT NULL,
    idx        INTEGER,                           -- of the delivery; NULL: it is its message's only one
    size       INTEGER NOT NULL,                  -- bytes of payload and body
    sent_at    INTEGER NOT NULL,                  -- ms since 1970
    waits_since INTEGER NOT NULL,                 -- ms since 1970; for its partner
    receives   INTEGER NOT NULL,                  -- of the message, by its queue
    attributes TEXT,                              -- JSON; NULL: none
    payload    BLOB NOT NULL,
    body       BLOB NOT NULL                      -- for a dead letter, which must be one that can be redriven
);

-- Parking twice is one row.
CREATE UNIQUE INDEX parked_once ON parked (queue, message_id, ifnull(idx, -1));
-- Each account's line. The size makes a sum over it a walk through the index alone.
CREATE INDEX parked_in_line ON parked (queue, account, place, size);
