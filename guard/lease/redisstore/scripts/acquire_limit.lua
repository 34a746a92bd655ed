-- acquire_limit: one request for a key, with a limit or shared. script.go says what
-- precedes and follows it. KEYS, ARGV and Returns as in acquire.lua, except that limit is
-- not 0 and no tokens are minted: both numbers are 0.
--
-- Invariants: never more holders than the strictest limit among them allows, and
-- none together with an exclusive owner; no request overtakes the queue; if the
-- first write fails, nothing was changed.

limit = tonumber(limit)
local ttl = tonumber(ARGV[2])

local value = lease_value()
if is_marker(value) then
  local member = limit .. ';' .. owner
  local ends = redis.call('ZSCORE', KEYS[3], member)
  if ends and tonumber(ends) > now then -- a reservation, or this owner's own retry
    redis.call('PEXPIRE', lease, ttl, 'GT') -- first: it works when memory is full
    redis.call('ZADD', KEYS[3], 'GT', number(now + ttl * 1000), member)
    set_marker(value)
    return {1, now, 0, 0}
  end
end

local at_head
value, at_head = grant_head(prune(value), owner)
local fit, strictest, mixed, excess = fits(value, limit)
if at_head or fit and redis.call('EXISTS', queue) == 0 then
  admit(value, owner, limit, ttl, strictest, mixed)
  return {1, now, 0, 0}
end

holder = value or ''
if excess > 0 then -- until so many leases have ended
  left = math.ceil((redis.call('ZRANGE', KEYS[3], excess - 1, excess - 1, 'WITHSCORES')[2] - now) / 1000)
else
  left = redis.call('PTTL', lease)
end
