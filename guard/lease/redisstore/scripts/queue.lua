-- The line of waiters, for the scripts that take from it or add to it.
--
-- The line is a ZSET. Its members are "<reservation ms>,<limit>;<owner>", so that
-- whoever frees the key knows, without another key, how long the next waiter's
-- grant must last and whether it fits beside others. The score is twice the
-- ticket, plus 1 if the waiter's process said that it listens.
--
-- Uses lease, queue, owner and now (nil if not known) of the script around it,
-- and ARGV[5] as acquire.lua describes it.

local limit, reservation, close, join, ticket, listens, count, inbox =
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

local function number(n) return string.format('%.0f', n) end

local function my_member() return reservation .. ',' .. limit .. ';' .. owner end

-- A line that nobody asks about any more vanishes. Whoever stands in it asks at
-- least once a second.
local function keep_queue() redis.call('PEXPIRE', queue, math.max(60000, 4 * reservation)) end

-- Joins, or stays at its place. Returns the ticket, and 1 for the head.
local function join_queue()
  local mine = tonumber(ticket)
  if join ~= '1' then return mine, 0 end
  local member = my_member()
  if mine == 0 then
    -- Behind everybody, even if the clock stepped back.
    local last = redis.call('ZRANGE', queue, -1, -1, 'WITHSCORES')[2]
    mine = math.max(now, last and math.floor(last / 2) + 1 or 0)
    if redis.call('ZADD', queue, 'NX', number(2 * mine + listens), member) == 1 then
      if last then return mine, 0 end -- the line lives as long as those before me ask
      keep_queue()
      return mine, 1
    end
    -- Here already: the reply to my first arrival was lost.
    mine = math.floor(redis.call('ZSCORE', queue, member) / 2)
  end
  redis.call('ZADD', queue, number(2 * mine + listens), member)
  keep_queue()
  return mine, redis.call('ZRANGE', queue, 0, 0)[1] == member and 1 or 0
end

-- Mints the token of a grant to a waiter: after those before, and not below the
-- clock.
local function token()
  local previous = tonumber(redis.call('SET', KEYS[4], number(clock()), 'GET') or 0) or 0
  if previous < now then return now end
  redis.call('SET', KEYS[4], number(previous + 1))
  return previous + 1
end

-- Tells whether the process of owner, which said that it listens, does not. Only
-- where all who listen can be counted; a user who may not ask counts nobody.
local function gone(owner)
  if count == '0' then return false end
  local listeners = redis.pcall('PUBSUB', 'NUMSUB', inbox .. string.match(owner, '^([^:|]*)'))
  return listeners[2] == 0
end

-- Tells owner's process that lease was granted, when, and the token (0: none).
-- It says so of a grant that stands, and only then: the waiter may start on it,
-- and replicas pass it on too. It must not undo the grant: a user who may not
-- publish leaves waiters polling.
local function wake(owner, fence)
  local message = owner .. '\n' .. number(clock()) .. '\n' .. number(fence) .. '\n' .. lease
  redis.pcall('PUBLISH', inbox .. string.match(owner, '^([^:|]*)'), message)
end

-- The text of a value that stands for several owners, or for none any more. It
-- reads like an owner id of no process: "<kind>|<owner name>|<carrier>".
local function in_place_of(owner, kind)
  return kind .. (string.match(owner, '|.*') or '|' .. owner)
end

-- Several holders side by side. They are a ZSET of "<limit>;<owner>" by the
-- server's time, in µs, at which each lease ends. While there are any, the lease
-- key has a marker, "shared|…" or, if one of them has a limit, "limited|…", that
-- lives as long as the longest of them. Both go at the same millisecond, so a
-- text that looks like a marker with no set beside it is another program's.

local function is_marker(value)
  return value and (string.sub(value, 1, 7) == 'shared|' or string.sub(value, 1, 8) == 'limited|')
    and redis.call('EXISTS', KEYS[3]) == 1
end

-- Drops holders whose time is over. Returns what the lease key holds then.
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

-- Tells whether one more with this limit fits beside the holders, whether any of
-- them, or it, has a limit, and how many must leave first. Where one has a
-- limit, there are few.
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
  local leave = math.max(0, redis.call('ZCARD', KEYS[3]) - strictest + 1)
  return leave == 0, strictest < math.huge, leave
end

-- Makes the marker and the set live as long as the longest holder.
local function mark(value)
  local last = redis.call('ZRANGE', KEYS[3], -1, -1, 'WITHSCORES')[2]
  local left = number(math.max(1, math.ceil((last - clock()) / 1000)))
  redis.call('SET', lease, value, 'PX', left)
  redis.call('PEXPIRE', KEYS[3], left)
end

-- Puts owner beside the holders for life ms. Returns the marker.
local function admit(value, owner, limit, life, limited)
  if not value then redis.call('DEL', KEYS[3]) end -- of before the marker was lost
  redis.call('ZADD', KEYS[3], number(clock() + life * 1000), limit .. ';' .. owner)
  value = in_place_of(owner, limited and 'limited' or 'shared')
  mark(value)
  return value
end

-- Grants the key to the front of the line, as many as fit, each for its reservation
-- time, given what the lease key holds (nil: it is free). Returns what it holds
-- then, and whether `me` came to the front and is to be let in by the caller.
--
-- Where listeners can be counted, a waiter that said it listens and does not is
-- dead and passed over, 16 in one call at most: the last of these keeps its
-- reservation. A live one passed over in error comes back with its old ticket.
--
-- Invariant: pop first. That works when memory is full, and after the first
-- write Redis lets the rest of a script write.
local function grant_head(value, me)
  local dead = 0
  while true do
    -- When the key is free, whoever is first fits.
    local front = value and redis.call('ZRANGE', queue, 0, 0, 'WITHSCORES') or redis.call('ZPOPMIN', queue)
    if not front[1] then return value, false end
    local life, beside, next = string.match(front[1], '^(%d+),(%-?%d+);(.*)$')
    beside = tonumber(beside)
    local fit, limited = not value, false
    if beside ~= 0 then fit, limited = fits(value, beside) end
    if not fit then return value, false end
    if value then redis.call('ZREM', queue, front[1]) end
    if next == me then return value, true end
    if dead < 15 and front[2] % 2 == 1 and gone(next) then
      dead = dead + 1
    elseif beside ~= 0 then
      value = admit(value, next, beside, tonumber(life), limited)
      wake(next, 0)
    else
      local fence = token()
      redis.call('SET', lease, next, 'PX', life)
      wake(next, fence)
      return next, false
    end
  end
end
