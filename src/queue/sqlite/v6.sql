-- Schema version 6: a message of a group that a person deletes, for example with the sqlite3 program, locks its group no longer.

-- Octoconf itself turns triggers off, since it frees the groups of what it deletes once a transaction, see `groups`.
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

-- The groups of messages that were deleted that way before.
DELETE FROM free_groups WHERE NOT EXISTS (SELECT 1 FROM messages WHERE seq = head);
INSERT OR IGNORE INTO free_groups (queue, head, grp)
SELECT queue, seq, grp FROM (SELECT min(seq) AS head FROM messages WHERE grp IS NOT NULL GROUP BY queue, grp)
    JOIN messages AS first ON seq = head
WHERE hidden_until IS NULL
  AND NOT EXISTS (
      SELECT 1 FROM messages INDEXED BY locked
      WHERE queue = first.queue AND grp = first.grp AND grp IS NOT NULL AND hidden_until IS NOT NULL AND delayed = 0);
