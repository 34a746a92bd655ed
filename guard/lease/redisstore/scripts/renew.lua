-- renew: extend a lease that its owner still holds.
--
-- KEYS[1] lease
-- ARGV[1] owner id
-- ARGV[2] life of the lease from now, ms
--
-- Returns {1}          extended
--         {0, value}   not the owner's; value is nil if nobody holds it
--
-- Invariant: never creates a lease, never touches somebody else's.

local holder = redis.call('GET', KEYS[1])
if holder ~= ARGV[1] then return {0, holder} end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return {1}
