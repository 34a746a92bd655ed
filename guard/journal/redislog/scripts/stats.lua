-- stats: count records.
--
-- KEYS[1] began, as in record.lua
-- KEYS[2] dead
--
-- Returns {open, dead, age of the oldest open one in µs}

local time = redis.call('TIME')
local oldest, age = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES'), 0
if oldest[2] then age = time[1] * 1000000 + time[2] - oldest[2] end
return {redis.call('ZCARD', KEYS[1]), redis.call('ZCARD', KEYS[2]), string.format('%.0f', age)}
