-- mint: one token for the owner of a lease that acquire_one.lua granted. If that lease
-- has ended meanwhile, the token is above all before it all the same, and not used.
--
-- KEYS[1] fence counter
--
-- Returns the token
--
-- Invariant: it is greater than all before it and not less than the server's clock.

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
if redis.call('ZADD', KEYS[1], 'GT', 'CH', string.format('%.0f', now), 't') == 1 then return now end
return tonumber(redis.call('ZINCRBY', KEYS[1], 1, 't'))
