-- renew_limit_one: extend the lease of one of several holders in one of its two keys,
-- first in the lease key, then in the set of holders. While a Cluster moves a slot, it
-- answers TRYAGAIN to scripts with several keys, not with one.
--
-- KEYS[1] the lease, or the holders
-- ARGV[1] member of the holders, "<limit>;<owner>"; empty for the lease
-- ARGV[2] TTL from now, ms
--
-- Returns {1}      extended
--         {value}  not the owner's; nil if the key is free
--
-- Invariant: never creates a lease, and never ends one sooner. Between the two steps the
-- marker keeps all others out.

if ARGV[1] == '' then
  local value = redis.pcall('GET', KEYS[1])
  if type(value) == 'table' and string.sub(value.err, 1, 9) ~= 'WRONGTYPE' then return value end
  if type(value) ~= 'string' then return {value and 'a key of another program'} end
  if string.sub(value, 1, 7) ~= 'shared|' and string.sub(value, 1, 8) ~= 'limited|' then return {value} end
  redis.call('PEXPIRE', KEYS[1], ARGV[2], 'GT')
  return {1}
end
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local ends = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not ends or tonumber(ends) <= now then return {false} end
redis.call('PEXPIRE', KEYS[1], ARGV[2], 'GT')
redis.call('ZADD', KEYS[1], string.format('%.0f', now + ARGV[2] * 1000), ARGV[1])
return {1}
