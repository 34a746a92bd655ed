-- acquire_one: one request for a key, exclusive, without its queue. While a Cluster
-- moves a slot, it answers TRYAGAIN to scripts with several keys, not with one. Tokens
-- are minted afterwards, by mint.lua.
--
-- KEYS[1] lease
-- ARGV[1] owner id
-- ARGV[2] TTL of the lease, ms
-- ARGV[3] deadline of the request by the server's clock, µs; 0 = not known, past
-- ARGV[4] ticket of an owner that waits
--
-- Returns as acquire.lua, with 0 tokens, and as the head of the queue: it has to poll
--
-- Invariant: at most one owner under the lease key. Waiters may be overtaken.

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
if now > tonumber(ARGV[3]) then return {2, now} end

local holder = redis.pcall('GET', KEYS[1])
if type(holder) == 'table' then -- a key of another type is another program's lock
  if string.sub(holder.err, 1, 9) ~= 'WRONGTYPE' then return holder end
  holder = 'a ' .. redis.call('TYPE', KEYS[1]).ok .. ' of another program'
end
if not holder then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
elseif holder == ARGV[1] then
  redis.call('PEXPIRE', KEYS[1], ARGV[2], 'GT')
else
  return {0, now, holder, redis.call('PTTL', KEYS[1]), tonumber(ARGV[4]), 1, -1}
end
return {1, now, 0, 0}
