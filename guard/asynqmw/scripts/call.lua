-- call: give the turn to the next task of the line and make it pending, before all
-- other tasks of its queue, which were enqueued later.
--
-- KEYS[1] line, KEYS[2] turn, as in arrive.lua
-- KEYS[3] asynq's list of pending tasks, the next one last
-- KEYS[4] asynq's zset of tasks to be retried
-- KEYS[5] asynq's zset of scheduled tasks
-- ARGV[1] id of the task whose run begins or ends, ARGV[2] its name in the line
-- ARGV[3] 1: its run ends
-- ARGV[4] prefix of asynq's task hashes
-- ARGV[5] now, ns since 1970
-- ARGV[6] 1: drop tasks that are on their way
-- ARGV[7] how long a turn lasts, ms
--
-- Returns 0 nothing to do, 1 called, 2 the next one is on its way into the retry
--         set, or its clone into that of scheduled tasks: ask again
--
-- Invariant: only a task to be retried or scheduled is moved, never one that is
-- archived, completed or running.

redis.call('ZREM', KEYS[1], ARGV[1], ARGV[2])
local turn = redis.call('HMGET', KEYS[2], 'name', 'left')
if turn[1] and turn[1] ~= ARGV[1] then
  local state = redis.call('HGET', ARGV[4] .. turn[1], 'state')
  if state == 'pending' then
    redis.call('HDEL', KEYS[2], 'left') -- it may wait, as if it had been called
    return 0
  elseif state == 'active' and not turn[2] then
    if ARGV[3] == '1' then redis.call('HSET', KEYS[2], 'free', 1) end
    return 0
  end
end
for _, name in ipairs(redis.call('ZRANGE', KEYS[1], 0, 99)) do
  local task = ARGV[4] .. name
  local state = redis.call('HGET', task, 'state')
  local from = state == 'retry' and KEYS[4] or state == 'scheduled' and KEYS[5]
  if from and redis.call('ZREM', from, name) == 1 then
    redis.call('RPUSH', KEYS[3], name)
    redis.call('HSET', task, 'state', 'pending', 'pending_since', ARGV[5])
    state = 'pending'
  end
  if state == 'pending' then
    redis.call('DEL', KEYS[2])
    redis.call('HSET', KEYS[2], 'name', name)
    redis.call('PEXPIRE', KEYS[2], ARGV[7])
    return 1
  end
  local transit = state == 'active' or not state and string.find(name, '~busy-', 1, true)
  if transit and ARGV[6] == '0' then return 2 end
  redis.call('ZREM', KEYS[1], name) -- deleted, archived or completed, or its server died
end
if ARGV[3] == '1' then redis.call('DEL', KEYS[2]) end
return 0
