-- end: the outcome of a run. After record.lua.
--
-- ARGV[2] done, failed, late, void or mismatch
-- ARGV[3] error
-- ARGV[4] checkpoint
-- ARGV[5] how long a finished record is kept, ms
-- ARGV[6] 1: the record stays done if it is
-- ARGV[7] kind, ARGV[8] key, ARGV[9] payload, ARGV[10] fence; or missing
--
-- Returns 0, 1 if nothing was changed because ARGV[7] to ARGV[10] are needed, or 2 if the
-- outcome is done and the record was claimed before: it is late now
--
-- Invariant: a run that did not end well, or ends after its record was claimed, leaves
-- the record open.

local outcome = ARGV[2]
local v = redis.call('HMGET', rec, 's', 'C', 't')
local state, claimed, started = v[1], v[2], v[3]

local function reopen(reason)
  if not ARGV[10] then return 1 end
  local time = now()
  started = tonumber(started or time)
  redis.call('HSET', rec, 's', 'o', 'K', ARGV[7], 'k', ARGV[8], 'p', ARGV[9], 'f', ARGV[10], 't', number(started),
    'r', reason, 'e', ARGV[3], 'c', ARGV[4])
  redis.call('HDEL', rec, 'a', 'y', 'w', 'g', 'b')
  redis.call('PERSIST', rec)
  redis.call('ZREM', dead, id)
  enter(started, time, ARGV[10], true)
  return 0
end

if outcome == 'mismatch' then
  if state == 'o' or state == 'x' then return 0 end
  started = nil
  return reopen('mismatch')
elseif not state then
  if outcome == 'failed' or outcome == 'late' then return reopen(outcome) end
elseif state == 'd' then
  if outcome == 'late' and ARGV[6] ~= '1' then return reopen('late') end
elseif outcome == 'void' then
  if state == 'o' and not claimed then
    leave()
    redis.call('DEL', rec)
  end
elseif state ~= 'o' then
  local missing = reopen('late')
  return missing == 0 and outcome == 'done' and 2 or missing
elseif claimed then
  redis.call('HSET', rec, 'g', '1', 'r', 'late', 'e', ARGV[3], 'c', ARGV[4])
  redis.call('ZADD', due, number(now()), id)
  if outcome == 'done' then return 2 end
elseif outcome == 'done' then
  finish('d', ARGV[5])
else
  redis.call('HSET', rec, 'r', outcome, 'e', ARGV[3], 'c', ARGV[4])
  redis.call('ZADD', due, number(now()), id)
  ended(started)
end
return 0
