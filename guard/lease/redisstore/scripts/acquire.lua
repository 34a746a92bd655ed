-- acquire: ask once for a key, to hold it alone. Followed by line.lua and
-- acquire_line.lua, which go on where the key is not simply free: what is here
-- is all that an uncontended run executes.
--
-- KEYS[1] lease  KEYS[2] line  KEYS[3] holders  KEYS[4] fence counter, of one slot
-- ARGV[1] owner id
-- ARGV[2] life of the lease, ms
-- ARGV[3] not after: server clock, µs; 0 = not known
-- ARGV[4] 1 = stand in line if the key is not to be had
-- ARGV[5] ticket of an earlier reply, 0 = first arrival
-- ARGV[6] claim: life of a grant made to this waiter, ms
-- ARGV[7] 1 = this waiter's process listens to its inbox
-- ARGV[8] room: 0
-- ARGV[9] 1 = PUBLISH counts every listener of the fleet (one node, no cluster)
-- ARGV[10] inbox channel prefix
-- ARGV[11] fencing tokens wanted, at least 1
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

-- The last token, read before the first write, as that can fail.
local function last_token()
  local previous = tonumber(redis.call('GET', KEYS[4]) or 0)
  if previous and previous < 2^53 then return previous end
end

local no_counter = 'ERR not a fence counter: '

-- Mints tokens from the clock on, even if the counter was lost: at most 10 ms
-- ahead of it, at least one.
local function granted(previous)
  local first = math.max(previous + 1, now)
  local n = math.max(1, math.min(tonumber(ARGV[11]), now + 10001 - first))
  redis.call('SET', KEYS[4], string.format('%.0f', first + n - 1))
  return {1, now, first, n}
end

local holder = redis.call('GET', lease)
if holder == owner then -- a grant, or my own retry
  local previous = last_token()
  if not previous then return redis.error_reply(no_counter .. KEYS[4]) end
  redis.call('PEXPIRE', lease, ttl)
  return granted(previous)
end
if not holder and redis.call('EXISTS', queue) == 0 then
  local previous = last_token()
  if not previous then return redis.error_reply(no_counter .. KEYS[4]) end
  redis.call('SET', lease, owner, 'PX', ttl)
  return granted(previous)
end
