-- renew_limit: extend the lease of one of several holders. Preceded by
-- argument.lua and queue.lua.
--
-- KEYS[1] lease  KEYS[2] queue, not used  KEYS[3] holders, all in one slot
-- ARGV[1] owner id
-- ARGV[2] TTL from now, ms
-- ARGV[5] as in argument.lua; used is limit
--
-- Returns {1}      extended
--         {value}  not the owner's; nil if the key is free
--
-- Invariant: never creates a lease. Extends only while the marker exists and the
-- owner's own lease has not ended: without the marker another owner may hold the key.

local limit = string.match(place, '[^,]*$')
local value, member = lease_value(), limit .. ';' .. owner
local ends = is_marker(value) and redis.call('ZSCORE', KEYS[3], member)
if not ends or tonumber(ends) <= clock() then return {value} end
redis.call('PEXPIRE', lease, ARGV[2], 'GT') -- first: it works when memory is full
redis.call('ZADD', KEYS[3], number(clock() + ARGV[2] * 1000), member)
set_marker(value)
return {1}
