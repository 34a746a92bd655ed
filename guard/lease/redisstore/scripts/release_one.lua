-- release_one: end an exclusive lease without using the queue. While a Cluster
-- moves a slot, it answers TRYAGAIN to scripts with several keys, not with one.
--
-- KEYS[1] lease
-- ARGV[1] owner id
-- ARGV[2] closed marker that replaces owner; empty = free the key
-- ARGV[3] TTL of the marker, ms
--
-- Returns 1 if owner held the lease, else 0
--
-- Invariant: never touches another owner's lease. Waiters find the key free at
-- their next poll.

local holder = redis.pcall('GET', KEYS[1])
if type(holder) == 'table' and string.sub(holder.err, 1, 9) ~= 'WRONGTYPE' then return holder end
if holder ~= ARGV[1] then return 0 end
if ARGV[2] ~= '' then
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
else
  redis.call('DEL', KEYS[1])
end
return 1
