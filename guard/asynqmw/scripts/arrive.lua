-- arrive: a task has come to its handler; may it try its key?
--
-- KEYS[1] line: a zset of the names of deferred tasks of one key, in order of arrival
-- KEYS[2] turn: a hash with the name of the task whose turn it is; expires
-- KEYS[3] seen: a zset of the ids of the queue's tasks that have come, by time
-- KEYS[4] asynq's list of active tasks, the latest first
-- KEYS[5] asynq's list of pending tasks, the next one last
-- KEYS[6] asynq's zset of tasks to be retried
-- KEYS[7] asynq's zset of scheduled tasks
-- ARGV[1] task id, its name in the line
-- ARGV[2] its name in the line from now on, if it is put off
-- ARGV[3] 1: do not wait for tasks that asynq handed out earlier
-- ARGV[4] prefix of asynq's task hashes
-- ARGV[5] now, ns since 1970
-- ARGV[6] how long a turn lasts, ARGV[7] how long the line is kept, ms
--
-- Returns {0, 0}             tasks that were handed out earlier have not come: ask again
--         {1, rank}          put off, behind so many others
--         {2, ''}            its turn, and no other task is waiting
--         {3, place}         its turn, it was called
--         {4, place}         its turn, as it came back by itself
--
-- Invariant: while the line is not empty or another task has the turn, no new task
-- gets it. So tasks that arrive in order have their turns in order.

local id, name = ARGV[1], ARGV[2]
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

local function take(who)
  redis.call('DEL', KEYS[2])
  redis.call('HSET', KEYS[2], 'name', who)
  redis.call('PEXPIRE', KEYS[2], ARGV[6])
end

local turn = redis.call('HMGET', KEYS[2], 'name', 'left')
local place = redis.call('ZSCORE', KEYS[1], id)
local verdict
if turn[1] == id then
  verdict = {turn[2] and 4 or 3, place or ''}
elseif not turn[1] and redis.call('ZCARD', KEYS[1]) == 0 then
  verdict = {2, ''}
elseif not turn[1] and place then
  -- A crash, or a long run: the first of the line tries, whoever noticed.
  for _, first in ipairs(redis.call('ZRANGE', KEYS[1], 0, 99)) do
    local state = redis.call('HGET', ARGV[4] .. first, 'state')
    local from = state == 'retry' and KEYS[6] or state == 'scheduled' and KEYS[7]
    if first == id then
      verdict = {4, place}
      break
    elseif from and redis.call('ZREM', from, first) == 1 then
      redis.call('RPUSH', KEYS[5], first)
      redis.call('HSET', ARGV[4] .. first, 'state', 'pending', 'pending_since', ARGV[5])
      take(first)
      redis.call('HSET', KEYS[2], 'left', 1)
      break
    end
  end
end
if verdict then
  redis.call('ZREM', KEYS[1], id)
  take(id)
  return verdict
end
local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
redis.call('ZREM', KEYS[1], id)
redis.call('ZADD', KEYS[1], place or (last[2] or 0) + 1, name)
redis.call('PEXPIRE', KEYS[1], ARGV[7])
return {1, redis.call('ZRANK', KEYS[1], name)}
