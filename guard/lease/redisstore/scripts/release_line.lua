-- release, continued.

if holder == owner then
  if close ~= '0' then
    redis.call('PEXPIRE', lease, close) -- works when memory is full, and lets SET work
    redis.call('SET', lease, in_place_of(owner, 'closed'), 'PX', close)
  elseif not grant_front(nil, nil) then
    redis.call('DEL', lease)
  end
  return 1
end
redis.call('ZREM', queue, my_member())
if not holder or is_marker(holder) then grant_front(prune(holder), nil) end
return 0
