-- Schema version 2: what small messages leave behind is removed many at a time, see `leftovers`.

-- 1: so large that its contents are removed with it. Of what an earlier version sent nobody knows.
ALTER TABLE messages ADD COLUMN bulky INTEGER NOT NULL DEFAULT 1;

-- Messages that are gone, whose contents are still there.
CREATE TABLE leftovers (
    seq INTEGER PRIMARY KEY
);
