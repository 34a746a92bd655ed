-- leave: a task that had the turn did not get its key, and is put off. It keeps the
-- turn, until that expires or a run ends.
--
-- KEYS[1] line, KEYS[2] turn, as in arrive.lua
-- ARGV[1] task id
-- ARGV[2] its name in the line from now on
-- ARGV[3] its place, or '': the front
-- ARGV[4] how long a turn lasts, ARGV[5] how long the line is kept, ms
--
-- Returns how many are before it; -1 if the run that it waited for has ended
-- meanwhile: the key is free

local turn = redis.call('HMGET', KEYS[2], 'name', 'free')
if turn[1] == ARGV[1] then
  if turn[2] then
    redis.call('HDEL', KEYS[2], 'free')
    return -1
  end
  redis.call('HSET', KEYS[2], 'name', ARGV[2], 'left', 1)
  redis.call('PEXPIRE', KEYS[2], ARGV[4])
end
local place = ARGV[3]
if place == '' then
  local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
  place = (first[2] or 1) - 1
end
redis.call('ZADD', KEYS[1], place, ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return redis.call('ZRANK', KEYS[1], ARGV[2])
