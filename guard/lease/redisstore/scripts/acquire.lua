-- acquire: ask once for a key, to hold it alone. Followed by queue.lua and
-- acquire_queue.lua, which go on where the key is not simply free: what is here
-- is all that an uncontended run executes.
--
-- KEYS[1] lease  KEYS[2] line  KEYS[3] holders  KEYS[4] fence counter, of one slot
-- ARGV[1] owner id
-- ARGV[2] life of the lease, ms
-- ARGV[3] not after: server clock, µs; 0 = not known
-- ARGV[4] fencing tokens wanted, at least 1
-- ARGV[5] what only the line needs, in one word to keep the rest short:
--         "<limit>,<reservation ms>,<close ms>,<join>,<ticket>,<listens>,<count>,<inbox prefix>"
--         limit     how many may hold the key at once; 0 here
--         reservation    life of a grant made to this waiter
--         close    0 here
--         join     1 = stand in line if the key is not to be had
--         ticket   of an earlier reply, 0 = first arrival
--         listens  1 = this waiter's process listens to its inbox
--         count    1 = PUBLISH counts every listener of the fleet (no cluster)
--
-- Returns {1, now µs, first fence, number of fences}             granted
--         {0, now µs, holder, its pttl ms, ticket, 1 if head}    not granted
--         {2, now µs}                                            came too late: nothing was done
--
-- Invariants: at most one owner under the lease key; nobody overtakes the line;
-- every token is greater than all before it and not less than the server's
-- clock; if the first write fails, nothing was done.

local lease, queue = KEYS[1], KEYS[2]
local owner, ttl = ARGV[1], ARGV[2]

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
if now > tonumber(ARGV[3]) then return {2, now} end

-- Mints tokens after those before, and not below the clock even if the counter
-- was lost: at most 10 ms ahead of the clock, at least one. It comes first of
-- all writes: a token that is not used does no harm.
local function mint()
  local wanted, last = tonumber(ARGV[4]), nil
  local first = now
  if wanted == 1 then -- mostly the clock is ahead, and one call does it
    local previous = tonumber(redis.call('SET', KEYS[4], string.format('%.0f', now), 'GET') or 0) or 0
    if previous < now then return {1, now, now, 1} end
    first, last = previous + 1, previous + 1
  else
    first = math.max((tonumber(redis.call('GET', KEYS[4]) or 0) or 0) + 1, now)
    last = math.max(first, math.min(first + wanted - 1, now + 10000))
  end
  redis.call('SET', KEYS[4], string.format('%.0f', last))
  return {1, now, first, last - first + 1}
end

if redis.call('EXISTS', lease, queue) == 0 then
  local granted = mint()
  redis.call('SET', lease, owner, 'PX', ttl)
  return granted
end

local holder = redis.call('GET', lease)
if holder == owner then -- a grant, or my own retry
  -- GT: this may be an attempt that was buried somewhere while a later one, with
  -- a longer life, was answered. First, as it works when memory is full.
  redis.call('PEXPIRE', lease, ttl, 'GT')
  return mint()
end
