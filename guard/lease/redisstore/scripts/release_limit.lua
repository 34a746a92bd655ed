-- release_limit: end the lease of one of several holders, or leave the queue.
-- Preceded by argument.lua and queue.lua. KEYS, ARGV and Returns as in release.lua, except that
-- limit is not 0, and that the owner's permit, not the key, is kept closed.
--
-- Invariants: never touches another owner's lease; the waiters at the front of the
-- queue that fit are granted.

local limit = string.match(place, '[^,]*$')
local released, member = 0, limit .. ';' .. owner
local value = lease_value()
if is_marker(value) then
  local ends = redis.call('ZSCORE', KEYS[3], member)
  if ends then
    if tonumber(ends) > clock() then released = 1 end
    redis.call('ZREM', KEYS[3], member)
    if released == 1 and ARGV[2] ~= '' then
      redis.call('ZADD', KEYS[3], number(clock() + keep_closed * 1000), limit .. ';' .. ARGV[2])
    end
  end
  if redis.call('EXISTS', KEYS[3]) == 0 then -- owner was the last holder
    redis.call('DEL', lease)
    value = nil
  else
    value = prune(value)
  end
  if value and ends then set_marker(value) end
end
leave_queue()
if not value or is_marker(value) then grant_head(value, nil) end
return released
