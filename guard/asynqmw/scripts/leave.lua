-- leave: a task that had the turn did not get its key, and is put off. It keeps the
-- turn, until that expires or a run ends.
--
-- ARGV[3] its place, or '': the front
--
-- Returns {n} how many are before it; {-1} if the run that it waited for has ended
--         meanwhile: the key is free

if has == id then
  if free then
    redis.call('HDEL', KEYS[2], 'free')
    return {-1}
  end
  redis.call('HSET', KEYS[2], 'name', name, 'left', 1)
  redis.call('PEXPIRE', KEYS[2], ARGV[6])
end
local place = ARGV[3]
if place == '' then
  local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
  place = (first[2] or 1) - 1
end
redis.call('ZADD', KEYS[1], place, name)
redis.call('PEXPIRE', KEYS[1], ARGV[7])
return {redis.call('ZRANK', KEYS[1], name)}
