-- The line of waiters. This file is put in front of acquire.lua and release.lua.
--
-- The line is a ZSET: score = ticket, member = "<claim ms>,<subscribed>;<owner>",
-- so that whoever frees the key knows how long the next waiter's grant must
-- last, and whether its process said that it listens, without another key.

local function member_of(owner, claim, subscribed)
  return claim .. ',' .. subscribed .. ';' .. owner
end

local function parse(member)
  return string.match(member, '^(%d+),([01]);(.*)$')
end

-- Tells owner's process that lease was granted, and returns how many listened.
-- It must not undo the grant: a user who may not publish leaves waiters polling.
local function wake(lease, owner, inbox)
  local process = string.match(owner, '^([^:|]*)')
  local receivers = redis.pcall('PUBLISH', inbox .. process, owner .. '\n' .. lease)
  if type(receivers) == 'number' then return receivers end
  return -1
end

-- Grants the lease to the head of the line for that waiter's claim time, and
-- returns its owner id and claim in ms; or nil, with the lease gone, if nobody
-- is left. If the head is `me`, returns it with the lease still to be set.
--
-- With count, a waiter that said it listens and does not is dead and passed
-- over, 16 in one call at most: the last of these keeps its claim. A live one
-- passed over in error comes back with its old ticket when it next asks.
--
-- Invariant: pop first. ZPOPMIN works when memory is full, and after the first
-- write Redis lets the rest of a script write.
local function grant_head(lease, queue, me, inbox, count)
  local owner, claim, subscribed
  for _ = 1, 16 do
    local member = redis.call('ZPOPMIN', queue)[1]
    if not member then
      if owner then redis.call('DEL', lease) end
      return nil
    end
    claim, subscribed, owner = parse(member)
    if owner == me then return me, claim end
    redis.call('SET', lease, owner, 'PX', claim)
    local receivers = wake(lease, owner, inbox)
    if not (count and subscribed == '1' and receivers == 0) then break end
  end
  return owner, claim
end
