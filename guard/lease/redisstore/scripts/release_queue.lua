-- release, continued.

if holder == owner then
  if ARGV[2] ~= '' then
    redis.call('PEXPIRE', lease, close) -- works when memory is full, and lets SET work
    redis.call('SET', lease, ARGV[2], 'PX', close)
  elseif not grant_head(nil, nil) then
    redis.call('DEL', lease)
  end
  return 1
end
redis.call('ZREM', queue, my_member())
if not holder or is_marker(holder) then grant_head(prune(holder), nil) end
return 0
