-- resolve: what came of an attempt. After record.lua.
--
-- ARGV[2] name of the claim
-- ARGV[3] compensated, retry or dead
-- ARGV[4] due after, µs, for retry
-- ARGV[5] error, for retry and dead
-- ARGV[6] how long a compensated record is kept, ms
--
-- Returns 0  done so
--         1  the run ended meanwhile: the record is open, and due
--         2  another claim, or none: nothing was changed

local v = redis.call('HMGET', rec, 'y', 'w', 'g')
if v[1] ~= ARGV[2] then return 2 end
if v[2] then return tonumber(v[2]) end
if v[3] then
  redis.call('HSET', rec, 'w', '1', 'a', '0')
  redis.call('HDEL', rec, 'g')
  redis.call('ZADD', due, number(now()), id)
  return 1
end
if ARGV[3] == 'compensated' then
  finish('c', ARGV[6])
elseif ARGV[3] == 'retry' then
  redis.call('HSET', rec, 'w', '0', 'e', ARGV[5])
  redis.call('ZADD', due, number(now() + ARGV[4]), id)
else
  leave()
  redis.call('HSET', rec, 's', 'x', 'w', '0', 'e', ARGV[5])
  redis.call('ZADD', dead, number(now()), id)
end
return 0
