-- The end of an acquire that is not granted: joins the queue, or keeps the place in it,
-- and replies. Uses holder and left, the first two facts of the reply.

local own, head, receivers = tonumber(ticket), 0, -1
if join == '1' then
  if beacon ~= '0' then
    -- The reply counts those who would hear a wake-up. pcall: without permission to
    -- publish, waiters poll.
    local reply = redis.pcall('PUBLISH', inbox .. string.match(owner, '^[^:|]*'), '\n' .. beacon)
    if type(reply) == 'number' then receivers = reply end
    if single == '1' then counted = receivers > 0 and '1' or '0' end
  end
  local member, first = place .. ';' .. owner, false
  if own == 0 then
    -- Behind all others, even if the clock stepped back.
    local last = redis.call('ZRANGE', queue, -1, -1, 'WITHSCORES')[2]
    own = math.max(now, last and math.floor(last / 2) + 1 or 0)
    first = redis.call('ZADD', queue, 'NX', string.format('%.0f', 2 * own + counted), member) == 1
    if not first then -- the reply to the first request was lost
      own = math.floor(redis.call('ZSCORE', queue, member) / 2)
    elseif not last then
      redis.call('PEXPIRE', queue, 60000)
      head = 1
    end
  end
  if not first then
    top = top or redis.call('ZRANGE', queue, 0, 0, 'WITHSCORES')
    local score = 2 * own + counted
    if top[1] ~= member or tonumber(top[2]) ~= score then
      redis.call('ZADD', queue, string.format('%.0f', score), member)
    end
    -- Whether its wake-ups would be heard may have changed, and with it the score, by one.
    if not top[1] or top[1] == member or score <= tonumber(top[2]) then head = 1 end
    local reservation, patience = string.match(place, '^(%d+),(%d+)')
    local life, kept = math.max(60000, 4 * reservation, 4 * patience), -1
    if patience ~= '0' then
      redis.call('ZADD', KEYS[5], string.format('%.0f', now + patience * 1000), member)
      -- Either may just have been made anew, while the other was there.
      kept = math.min(redis.call('PTTL', queue), redis.call('PTTL', KEYS[5]))
    end
    if kept < life / 2 then
      redis.call('PEXPIRE', queue, life)
      redis.call('PEXPIRE', KEYS[5], life)
    end
  end
end
return {0, now, holder, left, own, head, receivers}
