-- The argument for the queue and for limits, common to all scripts:
--
--   "<place>;<keep closed>,<join>,<ticket>,<counted>,<single>,<beacon>,<inbox prefix>"
--
-- A place is "<reservation>,<patience>,<limit>" or, of an exclusive owner, with
-- ",<grant tokens>" behind it:
--
--   reservation   TTL of a grant to this waiter, ms
--   patience      how long the waiter is presumed alive after each request, ms; 0 = for ever
--   limit         0 = exclusive, -1 = shared, n = at most n holders
--   grant tokens  how many tokens a grant to this waiter mints; one if it is not there
--   keep closed   for release only: how long the key or permit stays taken, ms
--   join          1 = wait in the queue if not granted
--   ticket        from an earlier reply, 0 = first request
--   counted       1 = PUBSUB NUMSUB on this server counted the waiter's inbox lately
--   single        1 = NUMSUB counts all subscribers (not on a Cluster)
--   beacon        not 0: publish this number to the waiter's inbox

local place, keep_closed, join, ticket, counted, single, beacon, inbox =
  string.match(ARGV[5], '^([^;]*);(%d+),([01]),(%d+),([01]),([01]),(%d+),(.*)$')
local top -- the head of the queue and its score, once it was looked at
