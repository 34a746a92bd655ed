-- acquire, continued: somebody has the key, or stands in line for it.

if not holder then
  local previous = last_token()
  if not previous then return redis.error_reply(no_counter .. KEYS[4]) end
  local mine
  holder, mine = grant_front(nil, owner)
  if mine or not holder then -- those ahead of me were dead
    redis.call('SET', lease, owner, 'PX', ttl)
    return granted(previous)
  end
end

local ticket, head = stand_in_line()
return {0, now, holder, redis.call('PTTL', lease), ticket, head}
