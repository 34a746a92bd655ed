-- release, continued.

if holder == owner then
  if ARGV[3] ~= '0' then
    redis.call('PEXPIRE', lease, ARGV[3]) -- works when memory is full, and lets SET work
    redis.call('SET', lease, in_place_of(owner, 'closed'), 'PX', ARGV[3])
  elseif not grant_front(nil, nil) then
    redis.call('DEL', lease)
  end
  return 1
end
redis.call('ZREM', queue, member_of(owner))
if not holder or is_marker(holder) then grant_front(prune(holder), nil) end
return 0
