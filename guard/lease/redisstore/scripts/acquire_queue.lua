-- acquire, continued: somebody has the key, or stands in line for it.

if not holder then
  local granted = mint()
  local mine
  holder, mine = grant_head(nil, owner)
  if mine or not holder then -- those ahead of me were dead
    redis.call('SET', lease, owner, 'PX', ttl)
    return granted
  end
end

local place, head = join_queue()
return {0, now, holder, redis.call('PTTL', lease), place, head}
