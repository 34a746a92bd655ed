-- renew: extend an exclusive lease that its owner still holds.
--
-- KEYS[1] lease
-- ARGV[1] owner id
-- ARGV[2] TTL from now, ms
--
-- Returns {1}          extended
--         {0, value}   not the owner's; value is nil if the key is free
--
-- Invariant: never creates a lease, never touches another owner's.

local holder = redis.pcall('GET', KEYS[1])
if type(holder) == 'table' then -- a key of another type is another program's lock
  if string.sub(holder.err, 1, 9) ~= 'WRONGTYPE' then return holder end
  holder = 'a ' .. redis.call('TYPE', KEYS[1]).ok .. ' of another program'
end
if holder ~= ARGV[1] then return {0, holder} end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return {1}
