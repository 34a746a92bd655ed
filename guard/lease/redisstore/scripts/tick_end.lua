-- tick_end: mark a tick done, or leave it to the next owner.
--
-- KEYS[1] tick, as in tick_claim.lua
-- ARGV[1] owner id
-- ARGV[2] scheduled time, µs since 1970
-- ARGV[3] a later time to store as done instead, µs since 1970
-- ARGV[4] how far that must lie back by the server's clock, µs
-- ARGV[5] 'dead' = given up; 'again' = not done, and no attempt; else missing
--
-- Returns 1 if it is the last tick and owner claimed it, else 0
--
-- Invariants: never touches another owner's claim; the last tick never gets earlier.

local last = redis.call('HMGET', KEYS[1], 'tick', 'owner', 'attempts', 'again')
if last[1] ~= ARGV[2] or last[2] ~= ARGV[1] then return 0 end
if ARGV[5] == 'again' then
  if last[4] ~= ARGV[1] then -- else it is sent again
    redis.call('HSET', KEYS[1], 'attempts', (tonumber(last[3]) or 1) - 1, 'again', ARGV[1])
  end
  return 1
end
redis.call('HSET', KEYS[1], 'done', '1')
if ARGV[5] == 'dead' then redis.call('HSET', KEYS[1], 'dead', ARGV[2]) end
local tick, through = tonumber(ARGV[2]), tonumber(ARGV[3])
if through > tick then
  local time = redis.call('TIME')
  through = math.min(through, time[1] * 1000000 + time[2] - tonumber(ARGV[4]))
  if through > tick then redis.call('HSET', KEYS[1], 'tick', string.format('%.0f', through)) end
end
return 1
