-- checkpoint: replace the checkpoint of a run that goes on.
--
-- KEYS[1] rec, as in record.lua
-- ARGV[1] data
-- ARGV[2] number of the checkpoint
--
-- Returns 1, or 0 if it is not open, or ended, or claimed
--
-- Invariant: the number of the checkpoint that is there never gets lower.

local v = redis.call('HMGET', KEYS[1], 's', 'C', 'r', 'n')
if v[1] ~= 'o' or v[2] or v[3] then return 0 end
if not v[4] or tonumber(v[4]) <= tonumber(ARGV[2]) then
  redis.call('HSET', KEYS[1], 'c', ARGV[1], 'n', ARGV[2])
end
return 1
