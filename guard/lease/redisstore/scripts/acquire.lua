-- acquire: one request for a key, exclusive. Without contention this file is all that
-- runs. script.go says what follows it.
--
-- KEYS[1] lease  KEYS[2] queue  KEYS[3] holders  KEYS[4] fence counter  KEYS[5] heard,
-- all in one slot
-- ARGV[1] owner id
-- ARGV[2] TTL of the lease, ms
-- ARGV[3] deadline of the request by the server's clock, µs; 0 = not known, past
-- ARGV[4] number of fencing tokens wanted, at least 1
-- ARGV[5] what the queue and limits need, in one argument: see argument.lua
--
-- Returns {1, now µs, first token, number of tokens}             granted
--         {0, now µs, holder, its PTTL ms, ticket, 1 if head, receivers of the beacon}
--                                                        not granted
--         {2, now µs}                                            past the deadline: no effect
--
-- Invariants: at most one owner under the lease key; no request overtakes the
-- queue; each token is greater than all before it and not less than the server's
-- clock; if the first write fails, nothing was changed.

local lease, queue = KEYS[1], KEYS[2]
local owner, ttl = ARGV[1], ARGV[2]

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
if now > tonumber(ARGV[3]) then return {2, now} end

-- Mints tokens above those before and, if the counter was lost, not below the
-- clock: at most 10 ms ahead of the clock, at least one. It is the first write: an
-- unused token is harmless.
local function mint()
  local wanted, counter = tonumber(ARGV[4]), KEYS[4]
  if wanted == 1 then
    if redis.call('ZADD', counter, 'GT', 'CH', string.format('%.0f', now), 't') == 1 then return {1, now, now, 1} end
    return {1, now, tonumber(redis.call('ZINCRBY', counter, 1, 't')), 1}
  end
  local first = math.max((tonumber(redis.call('ZSCORE', counter, 't') or 0) or 0) + 1, now)
  local last = math.max(first, math.min(first + wanted - 1, now + 10000))
  redis.call('ZADD', counter, string.format('%.0f', last), 't')
  return {1, now, first, last - first + 1}
end

local holder = redis.pcall('GET', lease) -- an error if the key has another type
if not holder and redis.call('EXISTS', queue) == 0 then
  local granted = mint()
  redis.call('SET', lease, owner, 'PX', ttl)
  return granted
end

if holder == owner then -- a reservation, or this owner's own retry
  -- GT: a delayed attempt must not shorten the lease of a later one. PEXPIRE first:
  -- it works when memory is full.
  redis.call('PEXPIRE', lease, ttl, 'GT')
  return mint()
end
