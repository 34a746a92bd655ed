-- tick_end: mark a tick done.
--
-- KEYS[1] tick, as tick_claim.lua has it
-- ARGV[1] owner id
-- ARGV[2] scheduled time, µs since 1970
-- ARGV[3] the tick to remember as done instead, if it is later
--
-- Returns 1 if it is the last tick and owner claimed it, else 0
--
-- Invariants: somebody else's claim is never touched; the last tick never gets
-- earlier.

local last = redis.call('HMGET', KEYS[1], 'tick', 'owner')
if last[1] ~= ARGV[2] or last[2] ~= ARGV[1] then return 0 end
if tonumber(ARGV[3]) > tonumber(ARGV[2]) then
  redis.call('HSET', KEYS[1], 'tick', ARGV[3], 'done', '1')
else
  redis.call('HSET', KEYS[1], 'done', '1')
end
return 1
