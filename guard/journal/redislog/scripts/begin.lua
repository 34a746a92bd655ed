-- begin: store an intent. After record.lua.
--
-- ARGV[2] kind
-- ARGV[3] key
-- ARGV[4] payload
-- ARGV[5] fence
-- ARGV[6] due after, µs
-- ARGV[7] how many records may be open
-- ARGV[8] 1: not if records of the key are open, but for those that go on under this fence
--
-- Returns {0}           stored, perhaps before
--         {1}           too many are open
--         {2, now, …}   the ids of those in the way, oldest first; nothing was stored

if redis.call('EXISTS', rec) == 1 then return {0} end
local time = now()
if ARGV[8] == '1' then
  local open, way = redis.call('HGETALL', line), {}
  for i = 1, #open, 2 do
    if open[i] ~= 'latest' then
      local started, fence = string.match(open[i + 1], '^(%d+) (%d+)$')
      if fence ~= ARGV[5] then way[#way + 1] = {tonumber(started), open[i]} end
    end
  end
  if #way > 0 then
    table.sort(way, function(a, b) return a[1] < b[1] end)
    local ids = {2, number(time)}
    for i = 1, math.min(#way, 100) do ids[#ids + 1] = way[i][2] end
    return ids
  end
end
if redis.call('ZCARD', began) >= tonumber(ARGV[7]) then return {1} end
redis.call('HSET', rec, 's', 'o', 'K', ARGV[2], 'k', ARGV[3], 'p', ARGV[4], 'f', ARGV[5], 't', number(time))
enter(time, time + ARGV[6], ARGV[5], false)
return {0}
