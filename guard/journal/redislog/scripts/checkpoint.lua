-- checkpoint: replace the checkpoint of a run that goes on.
--
-- KEYS[1] rec, as in record.lua
-- ARGV[1] data
--
-- Returns 1, or 0 if it is not open, or claimed

local v = redis.call('HMGET', KEYS[1], 's', 'C')
if v[1] ~= 'o' or v[2] then return 0 end
redis.call('HSET', KEYS[1], 'c', ARGV[1])
return 1
