-- release: end a lease, or leave the line. Followed by line.lua and
-- release_line.lua, which go on where somebody else is concerned.
--
-- KEYS[1] lease  KEYS[2] line  KEYS[3] holders, of one slot
-- ARGV[1] owner id
-- ARGV[3] close: keep the key shut so long, ms; 0 = free it
-- ARGV[6] claim, ms, as the owner gave it to acquire
-- ARGV[8] room: 0
-- ARGV[9] 1 = PUBLISH counts every listener of the fleet
-- ARGV[10] inbox channel prefix
--
-- Returns 1 if owner held the lease, else 0
--
-- Invariants: somebody else's lease is never touched; a key that is free
-- afterwards has nobody in line.

local lease, queue, owner, now = KEYS[1], KEYS[2], ARGV[1], nil

local holder = redis.call('GET', lease)
if holder == owner and ARGV[3] == '0' and redis.call('EXISTS', queue) == 0 then
  redis.call('DEL', lease)
  return 1
end
