-- inspect: what is known of a key, at one moment. It only reads: EVALSHA_RO, also on a
-- replica.
--
-- KEYS[1] lease  KEYS[2] queue  KEYS[3] holders  KEYS[4] fence counter, all in one slot
--
-- Returns {now µs, value, its PTTL ms, 1 if it is of another type, last token of the slot,
--          members of the queue and scores, members of the holders and scores}
--         value is nil if the key is free; of another type it is the type; the holders
--         are empty unless the value is a marker

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local value, other = redis.pcall('GET', KEYS[1]), 0
if type(value) == 'table' then
  if string.sub(value.err, 1, 9) ~= 'WRONGTYPE' then return value end
  value, other = redis.call('TYPE', KEYS[1]).ok, 1
end
local holders = {}
if value and other == 0 and (string.sub(value, 1, 7) == 'shared|' or string.sub(value, 1, 8) == 'limited|') then
  holders = redis.call('ZRANGE', KEYS[3], 0, -1, 'WITHSCORES')
end
return {now, value, redis.call('PTTL', KEYS[1]), other, redis.call('ZSCORE', KEYS[4], 't'),
  redis.call('ZRANGE', KEYS[2], 0, -1, 'WITHSCORES'), holders}
