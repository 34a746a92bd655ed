-- release_free: end an exclusive lease that nobody waits for. If it returns 0, release.lua
-- is run.
--
-- KEYS[1] lease  KEYS[2] queue, in one slot
-- ARGV[1] owner id
--
-- Returns 1 if owner held the lease, which is free now, else 0, without effect
--
-- Invariant: never touches another owner's lease.

if redis.pcall('GET', KEYS[1]) == ARGV[1] and redis.call('EXISTS', KEYS[2]) == 0 then
  return redis.call('DEL', KEYS[1])
end
return 0
