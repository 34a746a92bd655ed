-- The line of one key and queue: what stands before each of the scripts. They have
-- their ARGV[3] and what they return in their own headers.
--
-- KEYS[1] line: a zset of the names of deferred tasks, in order of arrival
-- KEYS[2] turn: a hash that expires. name: of the task whose turn it is; left: it was
--         put off since; free: the run that it waits for has ended
-- KEYS[3] seen: a zset of the ids of the queue's tasks that have come, by time
-- KEYS[4] asynq's list of active tasks, the latest first
-- KEYS[5] asynq's list of pending tasks, the next one last
-- KEYS[6] asynq's zset of tasks to be retried, KEYS[7] of scheduled tasks
-- ARGV[1] task id, its name in the line
-- ARGV[2] its name in the line from now on, if it is put off
-- ARGV[4] prefix of asynq's task hashes
-- ARGV[5] now, ns since 1970
-- ARGV[6] how long a turn lasts, ARGV[7] how long the line is kept, ms

local id, name = ARGV[1], ARGV[2]
local turn = redis.call('HMGET', KEYS[2], 'name', 'left', 'free')
local has, left, free = turn[1], turn[2], turn[3]

local function give(task)
  redis.call('DEL', KEYS[2])
  redis.call('HSET', KEYS[2], 'name', task)
  redis.call('PEXPIRE', KEYS[2], ARGV[6])
end

local function state(task) return redis.call('HGET', ARGV[4] .. task, 'state') end

-- wake makes a task pending, before the others of its queue, which were enqueued later.
-- Invariant: it was to be retried or scheduled, not archived, completed or running.
local function wake(task)
  local was = state(task)
  local from = was == 'retry' and KEYS[6] or was == 'scheduled' and KEYS[7]
  if not from or redis.call('ZREM', from, task) == 0 then return false end
  redis.call('RPUSH', KEYS[5], task)
  redis.call('HSET', ARGV[4] .. task, 'state', 'pending', 'pending_since', ARGV[5])
  return true
end
