-- record: what the scripts about one record begin with.
--
-- KEYS[1] began  sorted set of the ids of open records, by the time they began
-- KEYS[2] due    sorted set of the open ids of one kind, by the time they are due
-- KEYS[3] rec    hash of the record
--         s  state: o open, d done, c compensated, x dead
--         K kind, k key, p payload, f fence, t time it began
--         c checkpoint, n its number, r reason, e error, a attempts
--         C token of the latest claim, y its name, w the answer to its verdict
--         g  the run ended since that claim;  b how often it was found busy
-- KEYS[4] line   hash of the key: id of each open record -> "<time> <fence>", with fence 0
--                once its run has ended or it was claimed; and latest, its newest token
-- KEYS[5] dead   sorted set of the ids of dead records, by the time of death
-- ARGV[1] id
--
-- Times are µs of the server's clock. All keys have one hash tag.

local began, due, rec, line, dead, id = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], ARGV[1]

local function number(n) return string.format('%.0f', n) end

local function now()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

-- enter makes the record open: due at a time, known to its key's line.
local function enter(started, at, fence, ended)
  redis.call('ZADD', began, number(started), id)
  redis.call('ZADD', due, number(at), id)
  local latest = redis.call('HGET', line, 'latest')
  if not latest or tonumber(latest) < tonumber(fence) then latest = fence end
  redis.call('HSET', line, 'latest', latest, id, number(started) .. ' ' .. (ended and '0' or fence))
end

-- ended says in the line that the run does not go on.
local function ended(started) redis.call('HSET', line, id, number(started) .. ' 0') end

-- leave is the end of being open. Its commands need no memory.
local function leave()
  redis.call('ZREM', due, id)
  redis.call('ZREM', began, id)
  redis.call('HDEL', line, id)
  if redis.call('HLEN', line) == 1 then redis.call('DEL', line) end
end

-- finish keeps of the record what is small, for retain ms.
local function finish(state, retain)
  leave()
  local kept = {'K', 'k', 'f', 't'}
  if state == 'c' then kept = {'K', 'k', 't', 'y', 'C'} end
  local values, fields = redis.call('HMGET', rec, unpack(kept)), {'s', state}
  for i, name in ipairs(kept) do
    if values[i] then
      fields[#fields + 1] = name
      fields[#fields + 1] = values[i]
    end
  end
  if state == 'c' then
    fields[#fields + 1] = 'w'
    fields[#fields + 1] = '0'
  end
  redis.call('DEL', rec)
  redis.call('HSET', rec, unpack(fields))
  redis.call('PEXPIRE', rec, retain)
end
