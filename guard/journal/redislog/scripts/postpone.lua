-- postpone: leave an open record for later, unless it is due now. After record.lua.
--
-- ARGV[2] due after, µs
--
-- Returns 0

local time, at = now(), redis.call('ZSCORE', due, id)
if at and tonumber(at) > time then
  redis.call('HINCRBY', rec, 'b', 1)
  redis.call('ZADD', due, number(time + ARGV[2]), id)
end
return 0
