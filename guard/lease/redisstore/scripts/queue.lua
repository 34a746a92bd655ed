-- The queue of waiters and the set of holders, for the scripts that use them.
--
-- The queue is a ZSET. A member is "<reservation ms>,<limit>;<owner>": a release
-- reads from it how long the next grant must last and whether it fits, without
-- another key. The score is twice the ticket, plus 1 if the waiter's process said
-- that it listens to its inbox.
--
-- Uses lease, queue, owner and now (nil if not known) of the script around it, and
-- ARGV[5] as in acquire.lua.

local limit, reservation, keep_closed, join, ticket, listens, count, inbox =
  string.match(ARGV[5], '^(%-?%d+),(%d+),(%d+),([01]),(%d+),([01]),([01]),(.*)$')
limit = tonumber(limit)

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

local function own_member() return reservation .. ',' .. limit .. ';' .. owner end

-- Sets the TTL of the queue. Waiters poll at least once a second, so a queue that
-- expires has no live waiter.
local function keep_queue() redis.call('PEXPIRE', queue, math.max(60000, 4 * reservation)) end

-- Joins the queue, or keeps the place in it. Returns the ticket, and 1 for the head.
local function join_queue()
  local own = tonumber(ticket)
  if join ~= '1' then return own, 0 end
  local member = own_member()
  if own == 0 then
    -- Behind all others, even if the clock stepped back.
    local last = redis.call('ZRANGE', queue, -1, -1, 'WITHSCORES')[2]
    own = math.max(now, last and math.floor(last / 2) + 1 or 0)
    if redis.call('ZADD', queue, 'NX', number(2 * own + listens), member) == 1 then
      if last then return own, 0 end -- the polls of those before keep the queue
      keep_queue()
      return own, 1
    end
    -- Already a member: the reply to the first request was lost.
    own = math.floor(redis.call('ZSCORE', queue, member) / 2)
  end
  redis.call('ZADD', queue, number(2 * own + listens), member)
  keep_queue()
  return own, redis.call('ZRANGE', queue, 0, 0)[1] == member and 1 or 0
end

-- Mints the token of a grant to a waiter, above those before and not below the clock.
local function token()
  local previous = tonumber(redis.call('SET', KEYS[4], number(clock()), 'GET') or 0) or 0
  if previous < now then return now end
  redis.call('SET', KEYS[4], number(previous + 1))
  return previous + 1
end

-- Whether the process of owner, which said that it listens, no longer does. Known
-- only where all subscribers can be counted; a user without permission for NUMSUB
-- finds none gone.
local function gone(owner)
  if count == '0' then return false end
  local listeners = redis.pcall('PUBSUB', 'NUMSUB', inbox .. string.match(owner, '^([^:|]*)'))
  return listeners[2] == 0
end

-- Publishes that owner was granted lease, when, and the token (0: none). Called
-- after the grant is written, since the waiter may start on the message alone.
-- pcall: without permission to publish the grant stands, and waiters poll.
local function wake(owner, fence)
  local message = owner .. '\n' .. number(clock()) .. '\n' .. number(fence) .. '\n' .. lease
  redis.pcall('PUBLISH', inbox .. string.match(owner, '^([^:|]*)'), message)
end

-- The marker that stands in the lease key while several owners hold it. It has the
-- form of an owner id without a process: "<kind>|<owner name>|<metadata>".
local function marker_for(owner, kind)
  return kind .. (string.match(owner, '|.*') or '|' .. owner)
end

-- Several holders are a ZSET of "<limit>;<owner>" by the server's time, in µs, at
-- which each lease ends. While it has members, the lease key holds a marker:
-- "limited|…" if one of them has a limit, else "shared|…". Both keys expire in the
-- same millisecond, with the last lease; a value that looks like a marker without
-- the set is another program's.

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

-- Whether one more holder with this limit fits, whether any holder or it has a
-- limit, and how many holders must leave first. If one has a limit, there are few.
local function fits(value, limit)
  if value and not is_marker(value) then return false, false, 0 end
  local strictest = limit > 0 and limit or math.huge
  if not value then return true, limit > 0, 0 end
  if string.sub(value, 1, 1) == 'l' then
    for _, member in ipairs(redis.call('ZRANGE', KEYS[3], 0, -1)) do
      local other = tonumber(string.match(member, '^(%-?%d+);'))
      if other > 0 then strictest = math.min(strictest, other) end
    end
  end
  local excess = math.max(0, redis.call('ZCARD', KEYS[3]) - strictest + 1)
  return excess == 0, strictest < math.huge, excess
end

-- Writes the marker; it and the set expire with the last lease.
local function set_marker(value)
  local last = redis.call('ZRANGE', KEYS[3], -1, -1, 'WITHSCORES')[2]
  local left = number(math.max(1, math.ceil((last - clock()) / 1000)))
  redis.call('SET', lease, value, 'PX', left)
  redis.call('PEXPIRE', KEYS[3], left)
end

-- Adds owner to the holders for ttl ms. Returns the marker.
local function admit(value, owner, limit, ttl, limited)
  if not value then redis.call('DEL', KEYS[3]) end -- left over if the marker was lost
  redis.call('ZADD', KEYS[3], number(clock() + ttl * 1000), limit .. ';' .. owner)
  value = marker_for(owner, limited and 'limited' or 'shared')
  set_marker(value)
  return value
end

-- Grants the key to the head of the queue, and to waiters behind it as long as they
-- fit, each for its reservation; see docs/design/redisstore-queue.md. value is that of
-- the lease key, nil if it is free. Returns the value then, and whether `asking` is the
-- head, which is left to the caller.
--
-- Invariant: the first write removes from the queue: it works when memory is full.
local function grant_head(value, asking)
  local skipped = 0
  while true do
    -- When the key is free, the head fits.
    local head = value and redis.call('ZRANGE', queue, 0, 0, 'WITHSCORES') or redis.call('ZPOPMIN', queue)
    if not head[1] then return value, false end
    local ttl, next_limit, next = string.match(head[1], '^(%d+),(%-?%d+);(.*)$')
    next_limit = tonumber(next_limit)
    local fit, limited = not value, false
    if next_limit ~= 0 then fit, limited = fits(value, next_limit) end
    if not fit then return value, false end
    if value then redis.call('ZREM', queue, head[1]) end
    if next == asking then return value, true end
    if skipped < 15 and head[2] % 2 == 1 and gone(next) then
      skipped = skipped + 1
    elseif next_limit ~= 0 then
      value = admit(value, next, next_limit, tonumber(ttl), limited)
      wake(next, 0)
    else
      local fence = token()
      redis.call('SET', lease, next, 'PX', ttl)
      wake(next, fence)
      return next, false
    end
  end
end
