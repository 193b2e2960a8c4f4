-- Schema version 7: a receive does not count if the copy went back through no doing of its own.

-- How many of its receives do not count. They stay in `receives`, which makes a receipt fit one receive alone.
ALTER TABLE messages ADD COLUMN uncounted INTEGER NOT NULL DEFAULT 0;
