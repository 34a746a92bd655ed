-- acquire_limit: ask once for a key, to hold it beside others. Preceded by
-- queue.lua. Keys, arguments and returns are those of acquire.lua, but that the
-- limit is not 0 and that there are no tokens: both numbers are 0.
--
-- Invariants: never more holders than the strictest of them allows, and none
-- beside an exclusive owner; nobody overtakes the line; if the first write
-- fails, nothing was done.

local ttl = tonumber(ARGV[2])
if clock() > tonumber(ARGV[3]) then return {2, now} end

local value = redis.call('GET', lease)
if is_marker(value) then
  local member = limit .. ';' .. owner
  local until_ = redis.call('ZSCORE', KEYS[3], member)
  if until_ and tonumber(until_) > now then -- a grant, or my own retry
    redis.call('ZADD', KEYS[3], 'GT', number(now + ttl * 1000), member)
    mark(value)
    return {1, now, 0, 0}
  end
end

local mine
value, mine = grant_head(prune(value), owner)
local fit, limited, leave = fits(value, limit)
if mine or fit and redis.call('EXISTS', queue) == 0 then
  admit(value, owner, limit, ttl, limited)
  return {1, now, 0, 0}
end

local left
if leave > 0 then -- until enough of them make limit
  left = math.ceil((redis.call('ZRANGE', KEYS[3], leave - 1, leave - 1, 'WITHSCORES')[2] - now) / 1000)
else
  left = redis.call('PTTL', lease)
end
local place, head = join_queue()
return {0, now, value or '', left, place, head}
