-- The queue of waiters and the set of holders, for the scripts that use them.
--
-- The queue is a ZSET. A member is "<place>;<owner>": a release reads from the place how
-- long the next grant must last, whether the waiter is presumed alive, whether it fits and
-- how many tokens it gets, without another key. The score is twice the
-- ticket, a server time in µs, plus 1 if the waiter's inbox was counted.
--
-- A waiter is presumed alive for its patience from its ticket on, and until the score
-- of its member in KEYS[5], which its later requests set.
--
-- Uses lease, queue, owner and now (nil if not known) of the script around it,
-- argument.lua and token.lua.

-- The server's clock in µs, read once.
local function clock()
  if not now then
    local time = redis.call('TIME')
    now = time[1] * 1000000 + time[2]
  end
  return now
end

-- The value of the lease key, false if there is none. A key of another type is
-- another program's lock; its value is a text that says so.
local function lease_value()
  local value = redis.pcall('GET', lease)
  if type(value) ~= 'table' then return value end
  local kind = redis.call('TYPE', lease).ok
  if kind == 'string' then return redis.call('GET', lease) end -- another error: raise it
  return 'a ' .. kind .. ' of another program'
end

local function number(n) return string.format('%.0f', n) end

-- Takes a waiter out of the queue.
local function leave_queue()
  local member = place .. ';' .. owner
  if redis.call('ZREM', queue, member) == 1 then redis.call('ZREM', KEYS[5], member) end
end

local function inbox_of(owner) return inbox .. string.match(owner, '^[^:|]*') end

-- Forgets when a waiter was heard that is in the queue no longer. One that joined just
-- now has not asked again yet.
local function forget(member, score)
  if score / 2 + 50000 < clock() then redis.call('ZREM', KEYS[5], member) end
end

-- Whether no request or inbox of a waiter shows that it is alive. score is its
-- member's in the queue.
local function dead(member, score, patience, owner)
  local asked = (score - score % 2) / 2
  if patience ~= '0' and asked + patience * 1000 < clock() then
    local heard = redis.call('ZSCORE', KEYS[5], member)
    if not heard or tonumber(heard) < now then return true end
  end
  -- A waiter that asked within the last second costs no question.
  if score % 2 == 0 or single == '0' or asked + 1000000 > clock() then return false end
  local listeners = redis.pcall('PUBSUB', 'NUMSUB', inbox_of(owner))
  return listeners[2] == 0 -- not without permission for NUMSUB
end

-- Publishes to a waiter's inbox that it was granted lease, when, and the tokens (0:
-- none). Called after the grant is written, since the waiter may start on the message
-- alone. A text of "" announces no grant: the waiter should ask again. pcall: without
-- permission to publish the grant stands, and waiters poll.
local function wake(member, owner, text)
  redis.pcall('PUBLISH', inbox_of(owner), member .. '\n' .. number(clock()) .. '\n' .. text .. '\n' .. lease)
end

-- Several holders are a ZSET of "<limit>;<owner>" by the server's time, in µs, at
-- which each lease ends. While it has members, the lease key holds a marker, in the form
-- of an owner id without a process:
--
--   shared|<owner name>|<metadata>
--   limited|<owner name>|<metadata>|<strictest limit among the holders>, and + if they
--                                    have not all the same
--
-- Both keys expire in the same millisecond, with the last lease; a value that looks
-- like a marker without the set is another program's.

local function marker_for(owner, strictest, mixed)
  local rest = string.match(owner, '|.*') or '|' .. owner .. '|'
  if strictest == math.huge then return 'shared' .. rest end
  return 'limited' .. rest .. '|' .. number(strictest) .. (mixed and '+' or '')
end

local function is_marker(value)
  return value and (string.sub(value, 1, 7) == 'shared|' or string.sub(value, 1, 8) == 'limited|')
    and redis.call('EXISTS', KEYS[3]) == 1
end

-- Removes holders whose lease has ended. Returns the value of the lease key then.
local function prune(value)
  if not is_marker(value) then return value end
  local holders = KEYS[3]
  if redis.call('ZCOUNT', holders, '-inf', number(clock())) > 0 then
    redis.call('ZREMRANGEBYSCORE', holders, '-inf', number(clock()))
    if redis.call('EXISTS', holders) == 0 then
      redis.call('DEL', lease)
      return nil
    end
  end
  return value
end

-- The strictest limit among the holders, and whether they have different ones. The
-- marker says it, unless they do: then one that left may have been the strictest.
local function limits_of(value)
  if string.sub(value, 1, 1) == 's' then return math.huge, false end
  local strictest, mixed = string.match(value, '|(%d+)(%+?)$')
  if strictest and mixed == '' then return tonumber(strictest), false end
  local first
  strictest, mixed = math.huge, false
  for _, member in ipairs(redis.call('ZRANGE', KEYS[3], 0, -1)) do
    local other = tonumber(string.match(member, '^(%-?%d+);'))
    if other > 0 then strictest = math.min(strictest, other) end
    first = first or other
    mixed = mixed or other ~= first
  end
  return strictest, mixed
end

-- Whether one more holder with this limit fits, the strictest limit with it, whether the
-- limits then differ, and how many holders must leave before it fits.
local function fits(value, limit)
  local own = limit > 0 and limit or math.huge
  if not value then return true, own, false, 0 end
  if not is_marker(value) then return false, own, false, 0 end
  local strictest, mixed = limits_of(value)
  mixed = mixed or strictest ~= own
  strictest = math.min(strictest, own)
  local excess = math.max(0, redis.call('ZCARD', KEYS[3]) - strictest + 1)
  return excess == 0, strictest, mixed, excess
end

-- Writes the marker; it and the set expire with the last lease.
local function set_marker(value)
  local last = redis.call('ZRANGE', KEYS[3], -1, -1, 'WITHSCORES')[2]
  local left = number(math.max(1, math.ceil((last - clock()) / 1000)))
  redis.call('SET', lease, value, 'PX', left)
  redis.call('PEXPIRE', KEYS[3], left)
end

-- Adds owner to the holders for ttl ms. Returns the marker.
local function admit(value, owner, limit, ttl, strictest, mixed)
  if not value then redis.call('DEL', KEYS[3]) end -- left over if the marker was lost
  redis.call('ZADD', KEYS[3], number(clock() + ttl * 1000), limit .. ';' .. owner)
  value = marker_for(owner, strictest, mixed)
  set_marker(value)
  return value
end

-- Grants the key to the head of the queue, and to waiters behind it as long as they
-- fit, each for its reservation; see docs/design/redisstore-queue.md. value is that of
-- the lease key, nil if it is free; head is what was popped from the queue already, if
-- it was. Returns the value then, and whether `asking` is the head, which is left to the
-- caller.
--
-- Invariant: the first write removes from the queue: it works when memory is full.
local function grant_head(value, asking, head)
  for dropped = 0, 1000 do -- bounds the run time
    -- When the key is free, the head fits.
    head = head or (value and redis.call('ZRANGE', queue, 0, 0, 'WITHSCORES') or redis.call('ZPOPMIN', queue))
    local member, score = head[1], head[2]
    head = nil
    if not member then return value, false end
    local ttl, patience, next_limit, count, next = string.match(member, '^(%d+),(%d+),(%-?%d+),?(%d*);(.*)$')
    if not next then -- of no form that the scripts write
      redis.call('ZREM', queue, member)
    elseif next ~= asking and dropped < 1000 and dead(member, score, patience, next) then
      if value then redis.call('ZREM', queue, member) end
      forget(member, score)
      wake(member, next, '') -- if it is alive, it returns to its place
    else
      next_limit = tonumber(next_limit)
      local fit, strictest, mixed = not value, nil, nil
      if next_limit ~= 0 then fit, strictest, mixed = fits(value, next_limit) end
      if not fit then return value, false end
      if value then redis.call('ZREM', queue, member) end
      forget(member, score)
      if next == asking then return value, true end
      if next_limit ~= 0 then
        value = admit(value, next, next_limit, tonumber(ttl), strictest, mixed)
        wake(member, next, '0')
      else
        clock()
        local fence = tokens(count)
        redis.call('SET', lease, next, 'PX', ttl)
        wake(member, next, fence)
        return next, false
      end
    end
  end
  return value, false
end
