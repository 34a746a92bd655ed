-- release: end a lease, or leave the line. Preceded by line.lua and
-- closed.lua.
--
-- KEYS[1] lease  KEYS[2] line, of one slot
-- ARGV[1] owner id
-- ARGV[2] claim, ms, as the owner gave it to acquire
-- ARGV[3] close: keep the key shut so long, ms; 0 = free it
-- ARGV[4] 1 = PUBLISH counts every listener of the fleet
-- ARGV[5] inbox channel prefix
--
-- Returns 1 if owner held the lease, else 0
--
-- Invariants: somebody else's lease is never touched; a key that is free
-- afterwards has nobody in line.

local lease, queue = KEYS[1], KEYS[2]
local owner, claim, close, count, inbox = ARGV[1], ARGV[2], ARGV[3], ARGV[4] == '1', ARGV[5]

local holder = redis.call('GET', lease)
-- ZREM works when memory is full, and after it Redis lets SET work too.
redis.call('ZREM', queue, member_of(owner, claim, '0'), member_of(owner, claim, '1'))
if holder and holder ~= owner then return 0 end

if holder and close ~= '0' then
  redis.call('SET', lease, closed_by(owner), 'PX', close)
elseif not grant_head(lease, queue, nil, inbox, count) and holder then
  redis.call('DEL', lease)
end
return holder and 1 or 0
