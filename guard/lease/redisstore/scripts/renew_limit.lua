-- renew_limit: extend the lease of one of several holders. Preceded by queue.lua.
--
-- KEYS[1] lease  KEYS[2] line, not used  KEYS[3] holders, of one slot
-- ARGV[1] owner id
-- ARGV[2] life of the lease from now, ms
-- ARGV[5] as acquire.lua has it; of its fields only limit counts
--
-- Returns {1}          extended
--         {0, value}   not the owner's; value is nil if nobody holds it
--
-- Invariant: never creates a lease. It holds only while the marker is there and
-- the owner's own time is not over: without the marker somebody else may be in.

local value, member = redis.call('GET', lease), limit .. ';' .. owner
local until_ = is_marker(value) and redis.call('ZSCORE', KEYS[3], member)
if not until_ or tonumber(until_) <= clock() then return {0, value} end
redis.call('ZADD', KEYS[3], number(clock() + ARGV[2] * 1000), member)
mark(value)
return {1}
