-- release: end a lease, or leave the line. Followed by queue.lua and
-- release_queue.lua, which go on where somebody else is concerned.
--
-- KEYS[1] lease  KEYS[2] line  KEYS[3] holders  KEYS[4] fence counter, of one slot
-- ARGV[1] owner id
-- ARGV[2] the closed marker that replaces owner; empty = free the key
-- ARGV[3] the last token that the owner used
-- ARGV[4] the last that it was given; if equal, there is none to take back
-- ARGV[5] as acquire.lua has it; of its fields these count: limit, reservation, count,
--         inbox prefix, and close: keep the key shut so long, ms; 0 = free it
--
-- Returns 1 if owner held the lease, else 0
--
-- Invariants: somebody else's lease is never touched; a key that is free
-- afterwards has nobody in line.

local lease, queue, owner, now = KEYS[1], KEYS[2], ARGV[1], nil

local holder = redis.call('GET', lease)
-- Unused tokens are minted again, if nobody has minted others since: they were
-- ahead of the clock.
if holder == owner and ARGV[3] ~= ARGV[4] and redis.call('GET', KEYS[4]) == ARGV[4] then
  redis.call('SET', KEYS[4], ARGV[3])
end
if holder == owner and ARGV[2] == '' and redis.call('EXISTS', queue) == 0 then
  redis.call('DEL', lease)
  return 1
end
