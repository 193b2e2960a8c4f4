-- Schema version 5: of a message that leads to several deliveries, the file knows which are settled, so that another process does not deliver
-- them again. A column rather than a table, so that the record costs nothing where there is none and goes with its message.

ALTER TABLE messages ADD COLUMN settled TEXT; -- JSON, see `content`; NULL: nothing is known
-- The same of a message that was set aside as a whole: a redrive must not send it again.
ALTER TABLE dead ADD COLUMN settled TEXT;
