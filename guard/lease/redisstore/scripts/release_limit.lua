-- release_limit: end the lease of one of several holders, or leave the line.
-- Preceded by queue.lua. Keys, arguments and returns are those of release.lua,
-- but that the limit is not 0, and that close keeps the owner's place taken.
--
-- Invariants: nobody else's lease is touched; whoever is at the front of the
-- line and fits is let in.

local released, member = 0, limit .. ';' .. owner
local value = redis.call('GET', lease)
if is_marker(value) then
  local until_ = redis.call('ZSCORE', KEYS[3], member)
  if until_ then
    if tonumber(until_) > clock() then released = 1 end
    redis.call('ZREM', KEYS[3], member)
    if released == 1 and ARGV[2] ~= '' then
      redis.call('ZADD', KEYS[3], number(clock() + close * 1000), limit .. ';' .. ARGV[2])
    end
  end
  if redis.call('EXISTS', KEYS[3]) == 0 then -- I was the last
    redis.call('DEL', lease)
    value = nil
  else
    value = prune(value)
  end
  if value and until_ then mark(value) end
end
redis.call('ZREM', queue, my_member())
if not value or is_marker(value) then grant_head(value, nil) end
return released
