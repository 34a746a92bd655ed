-- acquire: ask once for a key. Preceded by line.lua.
--
-- KEYS[1] lease  KEYS[2] line  KEYS[3] fence counter, all of one slot
-- ARGV[1] owner id
-- ARGV[2] life of the lease, ms
-- ARGV[3] not after: server clock, µs; 0 = not known
-- ARGV[4] 1 = stand in line if the key is not to be had
-- ARGV[5] ticket of an earlier reply, 0 = first arrival
-- ARGV[6] claim: life of a grant made to this waiter, ms
-- ARGV[7] 1 = this waiter's process listens to its inbox
-- ARGV[8] fencing tokens wanted, at least 1
-- ARGV[9] 1 = PUBLISH counts every listener of the fleet (one node, no cluster)
-- ARGV[10] inbox channel prefix
--
-- Returns {1, now µs, first fence, number of fences}             granted
--         {0, now µs, holder, its pttl ms, ticket, 1 if head}    not granted
--         {2, now µs}                                            came too late: nothing was done
--
-- Invariants: at most one owner under the lease key; nobody overtakes the line;
-- every token is greater than all before it, and at least the server's clock;
-- if the first write fails, nothing was done.

local lease, queue, counter = KEYS[1], KEYS[2], KEYS[3]
local owner, ttl, not_after = ARGV[1], ARGV[2], tonumber(ARGV[3])
local join, ticket, claim, subscribed = ARGV[4] == '1', ARGV[5], ARGV[6], ARGV[7]
local wanted, count, inbox = tonumber(ARGV[8]), ARGV[9] == '1', ARGV[10]

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
if now > not_after then return {2, now} end

-- Mints up to `wanted` tokens, from the clock on even if the counter was lost:
-- at most 10 ms ahead of it, at least one.
local function granted(previous)
  local first = math.max(previous + 1, now)
  local n = math.max(1, math.min(wanted, now + 10001 - first))
  redis.call('SET', counter, string.format('%.0f', first + n - 1))
  return {1, now, first, n}
end

local holder = redis.call('GET', lease)
local pttl
if not holder or holder == owner then
  -- Everything that can fail is read before the first write.
  local previous = tonumber(redis.call('GET', counter) or 0)
  if not previous or previous >= 2^53 then
    return redis.error_reply('ERR not a fence counter: ' .. counter)
  end
  if holder then -- a grant, or my own retry
    redis.call('PEXPIRE', lease, ttl)
    return granted(previous)
  end

  local head = redis.call('ZRANGE', queue, 0, 0)[1]
  local mine = false
  if head then
    local _, _, first = parse(head)
    mine = first == owner
  end
  if not head or mine then
    redis.call('SET', lease, owner, 'PX', ttl)
    if mine then redis.call('ZREM', queue, head) end
    return granted(previous)
  end

  holder, pttl = grant_head(lease, queue, owner, inbox, count)
  if not holder or holder == owner then -- those ahead of me were dead
    redis.call('SET', lease, owner, 'PX', ttl)
    return granted(previous)
  end
end

local head = 0
if join then
  local member = member_of(owner, claim, subscribed)
  local place = redis.call('ZSCORE', queue, member)
  if not place then
    local other = member_of(owner, claim, subscribed == '1' and '0' or '1')
    place = redis.call('ZSCORE', queue, other)
    if not place then
      place = ticket
      if place == '0' then
        -- Behind everybody, even if the clock stepped back.
        local last = redis.call('ZRANGE', queue, -1, -1, 'WITHSCORES')[2]
        place = math.max(now, (tonumber(last) or 0) + 1)
      end
    end
    redis.call('ZADD', queue, string.format('%.0f', tonumber(place)), member)
    redis.call('ZREM', queue, other)
  end
  ticket = place
  if redis.call('ZRANGE', queue, 0, 0)[1] == member then head = 1 end
  -- A line that nobody asks about any more vanishes.
  redis.call('PEXPIRE', queue, string.format('%.0f', math.max(60000, 4 * claim)))
end
return {0, now, holder, tonumber(pttl or redis.call('PTTL', lease)), tonumber(ticket), head}
