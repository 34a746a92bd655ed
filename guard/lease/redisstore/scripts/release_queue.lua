-- release, third part: the head of the queue is another kind of waiter, or may be dead, or
-- the key is kept closed or not owner's.

if head then
  if not grant_head(nil, nil, head) then redis.call('DEL', lease) end
  return 1
end
if holder == owner then
  redis.call('PEXPIRE', lease, keep_closed) -- works when memory is full, and lets SET work
  redis.call('SET', lease, ARGV[2], 'PX', keep_closed)
  return 1
end
if type(holder) == 'table' then holder = lease_value() end
leave_queue()
if not holder or is_marker(holder) then grant_head(prune(holder), nil) end
return 0
