-- renew_fence: extend an exclusive lease that its owner still holds, and mint no token up
-- to a given one again.
--
-- KEYS[1] lease  KEYS[2] queue, not used  KEYS[3] holders, not used  KEYS[4] fence counter
-- ARGV[1] owner id
-- ARGV[2] TTL from now, ms
-- ARGV[3] token
--
-- Returns {1}      extended
--         {value}  not the owner's; nil if the key is free
--
-- Invariants: never creates a lease, never touches another owner's, never shortens one: it may
-- arrive after a later Acquire that asked for more. The counter moves in
-- any case: a release that would take back the last token minted must not take back this
-- one.

local holder = redis.pcall('GET', KEYS[1])
if type(holder) == 'table' then -- a key of another type is another program's lock
  if string.sub(holder.err, 1, 9) ~= 'WRONGTYPE' then return holder end
  holder = 'a ' .. redis.call('TYPE', KEYS[1]).ok .. ' of another program'
end
if holder ~= ARGV[1] then return {holder} end
redis.call('PEXPIRE', KEYS[1], ARGV[2], 'GT') -- first: it works when memory is full
if redis.call('ZADD', KEYS[4], 'GT', 'CH', ARGV[3], 't') == 0 then redis.call('ZINCRBY', KEYS[4], 1, 't') end
return {1}
