-- drop: delete a dead record. After record.lua.
--
-- Returns 1, or 0 if it is not dead

if redis.call('HGET', rec, 's') ~= 'x' then return 0 end
redis.call('DEL', rec)
redis.call('ZREM', dead, id)
return 1
