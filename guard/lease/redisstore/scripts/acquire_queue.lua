-- acquire, second part: the key has waiters and is free, or it is of another type.

if type(holder) == 'table' then holder = lease_value() end
if not holder then
  local granted = mint()
  local at_head
  holder, at_head = grant_head(nil, owner)
  if at_head or not holder then -- no live waiter is before this owner
    redis.call('SET', lease, owner, 'PX', ttl)
    return granted
  end
end
