-- release_one: end a lease without looking at the line. Redis Cluster answers
-- TRYAGAIN to release.lua while it moves the slot; one key always works.
--
-- KEYS[1] lease
-- ARGV[1] owner id
-- ARGV[2] the closed marker that replaces owner; empty = free the key
-- ARGV[3] how long the marker lives, ms
--
-- Returns 1 if owner held the lease, else 0
--
-- Invariant: somebody else's lease is never touched. Waiters find the key free
-- at their next poll.

if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] ~= '' then
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
else
  redis.call('DEL', KEYS[1])
end
return 1
