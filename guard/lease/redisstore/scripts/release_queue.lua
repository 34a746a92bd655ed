-- release, second part.

if holder == owner then
  if ARGV[2] ~= '' then
    redis.call('PEXPIRE', lease, keep_closed) -- works when memory is full, and lets SET work
    redis.call('SET', lease, ARGV[2], 'PX', keep_closed)
  elseif not grant_head(nil, nil) then
    redis.call('DEL', lease)
  end
  return 1
end
if type(holder) == 'table' then holder = lease_value() end
redis.call('ZREM', queue, own_member())
if not holder or is_marker(holder) then grant_head(prune(holder), nil) end
return 0
