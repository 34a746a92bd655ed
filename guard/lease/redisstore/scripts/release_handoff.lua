-- release, second part: grants the key to the head of the queue if that is exclusive
-- and surely presumed alive, which is the usual case. It does what grant_head in
-- queue.lua does, without the functions that the other cases need.

if head then
  local member, ticket = head[1], (head[2] - head[2] % 2) / 2
  local ttl, patience, count, next = string.match(member, '^(%d+),(%d+),0,?(%d*);(.*)$')
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
  if next and (patience == '0' or ticket + patience * 1000 >= now)
    and (head[2] % 2 == 0 or single == '0' or ticket + 1000000 > now) then
    local fence = tokens(count)
    if ticket + 50000 < now then redis.call('ZREM', KEYS[5], member) end
    redis.call('SET', lease, next, 'PX', ttl)
    redis.pcall('PUBLISH', inbox .. string.match(next, '^[^:|]*'),
      member .. '\n' .. string.format('%.0f', now) .. '\n' .. fence .. '\n' .. lease)
    return 1
  end
end
