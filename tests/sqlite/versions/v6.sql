-- A file as schema version 6 left it. Never changed: what a later octoconf makes of it is the test.

PRAGMA journal_mode = WAL;
CREATE TABLE queues (
    id   INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
);

-- What moves while a message lives: a row is rewritten by every receive, so what is bulky and fixed is kept in `contents`.
CREATE TABLE messages (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT, -- the message's age and its receipts' row; never used twice, or an old receipt would fit a new message
    queue        INTEGER NOT NULL,
    grp          TEXT,                              -- the FIFO group; NULL: stands alone
    hidden_until INTEGER,                           -- ms since 1970; NULL: visible
    delayed      INTEGER NOT NULL DEFAULT 0,        -- 1: hidden since it was sent, not by a lease
    receives     INTEGER NOT NULL DEFAULT 0
);

-- What can be taken, oldest first, but for groups.
CREATE INDEX visible ON messages (queue, seq) WHERE hidden_until IS NULL AND grp IS NULL;
-- What lapses next.
CREATE INDEX hidden ON messages (queue, hidden_until) WHERE hidden_until IS NOT NULL;
-- The members of a group, oldest first.
CREATE INDEX grouped ON messages (queue, grp, seq) WHERE grp IS NOT NULL;
-- Whether a group is locked by a lease.
CREATE INDEX locked ON messages (queue, grp) WHERE grp IS NOT NULL AND hidden_until IS NOT NULL AND delayed = 0;

-- The groups from which something can be taken: no message of theirs is leased, and the oldest is visible. Derived from `messages`, kept
-- because a receive must not walk through the thousands of messages that wait behind a locked group.
CREATE TABLE free_groups (
    queue INTEGER NOT NULL,
    head  INTEGER NOT NULL, -- seq of the oldest
    grp   TEXT NOT NULL,
    PRIMARY KEY (queue, head)
) WITHOUT ROWID;
CREATE UNIQUE INDEX free_by_name ON free_groups (queue, grp);

CREATE TABLE contents (
    seq        INTEGER PRIMARY KEY,
    id         TEXT NOT NULL,
    sent_at    INTEGER NOT NULL, -- ms since 1970
    body       BLOB NOT NULL,
    attributes TEXT,             -- JSON; NULL: none
    open       TEXT,             -- indices of the deliveries that are open, "1,3"; NULL: all
    redrives   INTEGER NOT NULL DEFAULT 0
);

CREATE TABLE dead (
    id         INTEGER PRIMARY KEY AUTOINCREMENT, -- never used twice: the ids of redriven messages are made of it
    queue      INTEGER NOT NULL,
    message_id TEXT NOT NULL,
    idx        INTEGER,          -- of the delivery; NULL: the whole message, or its only delivery
    kind       TEXT NOT NULL,
    reason     TEXT NOT NULL,
    account    TEXT,
    payload    BLOB,             -- NULL: the whole message
    body       BLOB NOT NULL,
    attributes TEXT,
    open       TEXT,             -- what a redrive opens
    receives   INTEGER NOT NULL,
    redrives   INTEGER NOT NULL,
    sent_at    INTEGER NOT NULL,
    dead_at    INTEGER NOT NULL
);
CREATE UNIQUE INDEX dead_once ON dead (queue, message_id, ifnull(idx, -1), iif(idx IS NULL, '', ifnull(account, '')));
CREATE INDEX dead_by_queue ON dead (queue);

-- 1: so large that its contents are removed with it. Of what an earlier version sent nobody knows.
ALTER TABLE messages ADD COLUMN bulky INTEGER NOT NULL DEFAULT 1;

-- Messages that are gone, whose contents are still there.
CREATE TABLE leftovers (
    seq INTEGER PRIMARY KEY
);

CREATE TABLE clock (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    seen INTEGER NOT NULL -- ms since 1970; not older than a second when a time that lies ahead is written
);

ALTER TABLE messages ADD COLUMN settled TEXT; -- JSON, see `content`; NULL: nothing is known
-- The same of a message that was set aside as a whole: a redrive must not send it again.
ALTER TABLE dead ADD COLUMN settled TEXT;

CREATE TRIGGER deleted_by_others AFTER DELETE ON messages WHEN old.grp IS NOT NULL
BEGIN
    DELETE FROM free_groups WHERE queue = old.queue AND head = old.seq;
    INSERT OR IGNORE INTO free_groups (queue, head, grp)
    SELECT queue, seq, grp FROM messages
    WHERE seq = (SELECT seq FROM messages WHERE queue = old.queue AND grp = old.grp ORDER BY seq LIMIT 1)
      AND hidden_until IS NULL
      AND NOT EXISTS (
          SELECT 1 FROM messages INDEXED BY locked
          WHERE queue = old.queue AND grp = old.grp AND grp IS NOT NULL AND hidden_until IS NOT NULL AND delayed = 0);
END;

PRAGMA application_id = 0x4f63746f;
PRAGMA user_version = 6;

INSERT INTO queues (id, name) VALUES (1, 'stock');

INSERT INTO clock (only, seen) VALUES (1, 1720000060000);

-- Received twice so far; visible, since its lease has ended or it was returned.
INSERT INTO messages (seq, queue, grp, hidden_until, delayed, receives, bulky) VALUES (1, 1, NULL, NULL, 0, 2, 0);

INSERT INTO contents (seq, id, sent_at, body, attributes, open, redrives) VALUES (1, 'first', 1720000000000, x'7b7d', NULL, NULL, 0);
