-- claim: begin an attempt at compensation. After record.lua.
--
-- ARGV[2] name of the claim
-- ARGV[3] token of the claimant
-- ARGV[4] 1: the claimant has waited for the run's report
-- ARGV[5] due again after, µs
--
-- Returns {0, kind, key, payload, checkpoint, reason, fence, attempt, time, error, latest}
--         {1}  it is not open
--         {2}  its run may be about to report: nothing was changed
--         {3}  claimed under a higher token
--
-- Invariant: the token of the claim never gets lower.

local v = redis.call('HMGET', rec, 's', 'r', 'C', 'y', 'a', 't', 'g')
if v[1] ~= 'o' then return {1} end
if v[3] and tonumber(ARGV[3]) < tonumber(v[3]) then return {3} end
if ARGV[4] ~= '1' and not v[2] then return {2} end
if v[4] ~= ARGV[2] then
  redis.call('HSET', rec, 'r', v[2] or 'abandoned', 'C', ARGV[3], 'y', ARGV[2], 'a', (not v[7] and tonumber(v[5]) or 0) + 1)
  redis.call('HDEL', rec, 'w', 'g', 'b')
  redis.call('ZADD', due, number(now() + ARGV[5]), id)
  ended(v[6])
end
local record = redis.call('HMGET', rec, 'K', 'k', 'p', 'c', 'r', 'f', 'a', 't', 'e')
table.insert(record, 1, 0)
record[11] = redis.call('HGET', line, 'latest')
return record
