-- release: end an exclusive lease, or leave the queue. Followed by queue.lua and
-- release_queue.lua, which run only if the key is kept closed, has waiters, or is
-- not owner's.
--
-- KEYS[1] lease  KEYS[2] queue  KEYS[3] holders  KEYS[4] fence counter, all in one slot
-- ARGV[1] owner id
-- ARGV[2] closed marker that replaces owner; empty = free the key
-- ARGV[3] last token that the owner used
-- ARGV[4] last token that the owner was given; if equal, none is taken back
-- ARGV[5] as in acquire.lua; used are limit, reservation, keep closed, count and
--         inbox prefix
--
-- Returns 1 if owner held the lease, else 0
--
-- Invariants: never touches another owner's lease; a key that is free afterwards
-- has no waiters.

local lease, queue, owner, now = KEYS[1], KEYS[2], ARGV[1], nil

local holder = redis.pcall('GET', lease) -- an error if the key has another type
-- Unused tokens are taken back, unless later ones were minted: they are ahead of
-- the clock.
if holder == owner and ARGV[3] ~= ARGV[4] and redis.call('GET', KEYS[4]) == ARGV[4] then
  redis.pcall('SET', KEYS[4], ARGV[3]) -- pcall: it may fail when memory is full
end
if holder == owner and ARGV[2] == '' and redis.call('EXISTS', queue) == 0 then
  redis.call('DEL', lease)
  return 1
end
