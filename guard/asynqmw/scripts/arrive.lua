-- arrive: a task has come to its handler; may it try its key?
--
-- ARGV[3] 1: do not wait for tasks that asynq handed out earlier
--
-- Returns {0, 0}             those have not come: ask again
--         {1, rank}          put off, behind so many others
--         {2, ''}            its turn, and no other task is waiting
--         {3, place}         its turn, it was called
--         {4, place}         its turn, as it came back by itself
--
-- Invariant: while the line is not empty or another task has the turn, no new task
-- gets it. So tasks that arrive in order have their turns in order.

local latest, at = redis.call('LRANGE', KEYS[4], 0, 31), nil
for i, other in ipairs(latest) do
  if other == id then at = i break end
end
if at then
  for i = at + 1, math.min(at + 8, #latest) do
    if not redis.call('ZSCORE', KEYS[3], latest[i]) then
      if ARGV[3] == '0' then return {0, 0} end
      redis.call('ZADD', KEYS[3], ARGV[5], latest[i]) -- one task waits for it, not every one
    end
  end
end
redis.call('ZADD', KEYS[3], ARGV[5], id)
if redis.call('ZCARD', KEYS[3]) > 1024 then redis.call('ZREMRANGEBYRANK', KEYS[3], 0, 511) end
redis.call('PEXPIRE', KEYS[3], ARGV[7])

local place = redis.call('ZSCORE', KEYS[1], id)
local verdict
if has == id then
  verdict = {left and 4 or 3, place or ''}
elseif not has and redis.call('ZCARD', KEYS[1]) == 0 then
  verdict = {2, ''}
elseif not has and place then
  -- A crash, or a long run: the first of the line tries, whoever noticed.
  for _, task in ipairs(redis.call('ZRANGE', KEYS[1], 0, 99)) do
    if task == id then
      verdict = {4, place}
      break
    elseif wake(task) then
      give(task)
      redis.call('HSET', KEYS[2], 'left', 1)
      break
    end
  end
end
if verdict then
  redis.call('ZREM', KEYS[1], id)
  give(id)
  return verdict
end
local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
redis.call('ZREM', KEYS[1], id)
redis.call('ZADD', KEYS[1], place or (last[2] or 0) + 1, name)
redis.call('PEXPIRE', KEYS[1], ARGV[7])
return {1, redis.call('ZRANK', KEYS[1], name)}
