-- Schema version 3: what the wall clock said last, so that one that was set back keeps nothing hidden for longer than it was to be.

CREATE TABLE clock (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    seen INTEGER NOT NULL -- ms since 1970; not older than a second when a time that lies ahead is written
);
INSERT INTO clock (only, seen) VALUES (1, 0);
