-- Schema version 4: a dead letter is told by the account of its delivery too, since another handler may make the deliveries of a message in
-- another order, and the letter of one must not take the place of another's.

DROP INDEX dead_once;
CREATE UNIQUE INDEX dead_once ON dead (queue, message_id, ifnull(idx, -1), iif(idx IS NULL, '', ifnull(account, '')));
