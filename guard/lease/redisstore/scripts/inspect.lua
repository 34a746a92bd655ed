-- inspect: what is known of a key, at one moment. It only reads: EVALSHA_RO, also on a
-- replica.
--
-- KEYS[1] lease  KEYS[2] queue  KEYS[3] holders  KEYS[4] fence counter, all in one slot
-- ARGV[1] how many members of the queue, and of the holders, at most
--
-- Returns {now µs, 0 if it is of no use, value, its PTTL ms, 1 if it is of another type, last token of the slot,
--          how many wait, the first of them and scores, how many hold, the first and scores}
--         value is nil if the key is free; of another type it is the type; of another
--         program's text the beginning. The holders are empty unless value is a marker

local now, queue, holding, holders = 0, {}, 0, {}
local function clock()
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
  return now
end
local value, other, left = redis.pcall('GETRANGE', KEYS[1], 0, 4095), 0, redis.call('PTTL', KEYS[1])
if type(value) == 'table' then
  if string.sub(value.err, 1, 9) ~= 'WRONGTYPE' then return value end
  value, other = redis.call('TYPE', KEYS[1]).ok, 1
elseif left == -2 then
  value = false
end
if value and other == 0 and (string.sub(value, 1, 7) == 'shared|' or string.sub(value, 1, 8) == 'limited|') then
  local from = string.format('(%.0f', clock())
  holding = redis.call('ZCOUNT', KEYS[3], from, '+inf')
  holders = redis.call('ZRANGE', KEYS[3], from, '+inf', 'BYSCORE', 'LIMIT', 0, ARGV[1], 'WITHSCORES')
  if holding == 0 and redis.call('ZCARD', KEYS[3]) > 0 then value = false end -- all have ended
end
local waiting = redis.call('ZCARD', KEYS[2])
if waiting > 0 then
  clock()
  queue = redis.call('ZRANGE', KEYS[2], 0, ARGV[1] - 1, 'WITHSCORES')
end
return {now, value, left, other, redis.call('ZSCORE', KEYS[4], 't'), waiting, queue, holding, holders}
