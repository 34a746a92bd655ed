-- requeue: a dead record is open again, and due. After record.lua.
--
-- Returns 1, or 0 if it is not dead

local v = redis.call('HMGET', rec, 's', 't', 'f')
if v[1] ~= 'x' then return 0 end
redis.call('HSET', rec, 's', 'o')
redis.call('HDEL', rec, 'a', 'y', 'w', 'g', 'b')
redis.call('ZREM', dead, id)
enter(tonumber(v[2]), now(), v[3], true)
return 1
