-- release: end an exclusive lease, or leave the queue. Without contention this file is
-- all that runs. script.go says what follows it.
--
-- KEYS[1] lease  KEYS[2] queue  KEYS[3] holders  KEYS[4] fence counter  KEYS[5] heard,
-- all in one slot
-- ARGV[1] owner id
-- ARGV[2] closed marker that replaces owner; empty = free the key
-- ARGV[3] last token that the owner used
-- ARGV[4] last token that the owner was given; if equal, none is taken back
-- ARGV[5] as in argument.lua; used are the first three, keep closed, single and inbox
--         prefix
--
-- Returns 1 if owner held the lease, else 0
--
-- Invariants: never touches another owner's lease; a key that is free afterwards
-- has no waiters.

local lease, queue, owner, now = KEYS[1], KEYS[2], ARGV[1], nil

local holder = redis.pcall('GET', lease) -- an error if the key has another type
-- Unused tokens are taken back, unless later ones were minted: they are ahead of
-- the clock.
if holder == owner and ARGV[3] ~= ARGV[4]
  and tonumber(redis.call('ZSCORE', KEYS[4], 't') or 0) == tonumber(ARGV[4]) then
  redis.pcall('ZADD', KEYS[4], ARGV[3], 't') -- pcall: it may fail when memory is full
end
local head -- popped first: it works when memory is full
if holder == owner and ARGV[2] == '' then
  head = redis.call('ZPOPMIN', queue)
  if not head[1] then
    redis.call('DEL', lease)
    return 1
  end
end
