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
local token = math.max((tonumber(redis.call('GET', KEYS[1]) or 0) or 0) + 1, now)
redis.call('SET', KEYS[1], string.format('%.0f', token))
return token
