-- take: records that are due, the longest due first.
--
-- KEYS    due, as in record.lua, one for each kind
-- ARGV[1] how many at most
-- ARGV[2] due again after, µs
--
-- Returns {id, number of its kind, …}

local time = redis.call('TIME')
local now, all = time[1] * 1000000 + time[2], {}
for kind, key in ipairs(KEYS) do
  local found = redis.call('ZRANGEBYSCORE', key, '-inf', string.format('%.0f', now), 'WITHSCORES', 'LIMIT', 0, ARGV[1])
  for i = 1, #found, 2 do all[#all + 1] = {tonumber(found[i + 1]), found[i], kind} end
end
table.sort(all, function(a, b) return a[1] < b[1] end)
local taken, again = {}, string.format('%.0f', now + ARGV[2])
for i = 1, math.min(#all, tonumber(ARGV[1])) do
  redis.call('ZADD', KEYS[all[i][3]], again, all[i][2])
  taken[#taken + 1] = all[i][2]
  taken[#taken + 1] = all[i][3]
end
return taken
