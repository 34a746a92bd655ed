-- acquire_limit, first part: a waiter that asks again, which is the usual request of a key
-- with a queue, needs no queue.lua if the key is held exclusively, or all permits of
-- its limit are taken. Sets holder then, and left as in acquire_limit.lua.

local limit = string.match(place, '^%d+,%d+,(.*)$')
local time = redis.call('TIME')
now = time[1] * 1000000 + time[2]
if now > tonumber(ARGV[3]) then return {2, now} end

-- Whether the owner was granted a permit meanwhile: then it is in the queue no longer.
local function granted()
  top = redis.call('ZRANGE', queue, 0, 0, 'WITHSCORES')
  return top[1] ~= place .. ';' .. owner and redis.call('ZSCORE', KEYS[3], limit .. ';' .. owner)
end

local holder, left
if ticket ~= '0' then
  local value = redis.pcall('GET', lease) -- an error if the key has another type
  local marked = type(value) == 'string' and
    (string.sub(value, 1, 8) == 'limited|' or string.sub(value, 1, 7) == 'shared|')
  if type(value) == 'string' and not marked then
    holder, left = value, redis.call('PTTL', lease)
  elseif marked and string.sub(value, -1 - #limit) == '|' .. limit and not granted() then
    if limit == '1' then -- the marker lives as long as the one holder's lease
      holder, left = value, redis.call('PTTL', lease)
    else
      local soonest = redis.call('ZRANGE', KEYS[3], 0, 0, 'WITHSCORES')[2]
      if soonest and tonumber(soonest) > now and redis.call('ZCARD', KEYS[3]) == tonumber(limit) then
        holder, left = value, math.ceil((soonest - now) / 1000)
      end
    end
  end
end
