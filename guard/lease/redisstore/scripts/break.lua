-- break: end all leases of a key at once, whoever has them, and grant the key to the head
-- of the queue. Preceded by argument.lua and queue.lua. KEYS as in release.lua.
-- ARGV[5] as in argument.lua; used are single and inbox prefix
--
-- Returns {kind, value}   kind is free, done or other: a key of another type, which is
--                         not touched; value is what was deleted, or the type
--
-- Invariants: a key that is free afterwards has no live waiters; the counter of tokens is
-- not touched, so the next token is higher; the first write works when memory is full.

local value = redis.pcall('GET', lease)
if type(value) == 'table' then
  if string.sub(value.err, 1, 9) ~= 'WRONGTYPE' then return value end
  return {'other', redis.call('TYPE', lease).ok}
end
local owners = {}
if is_marker(value) then
  for _, member in ipairs(redis.call('ZRANGE', KEYS[3], 0, -1)) do
    owners[#owners + 1] = string.match(member, '^[^;]*;(.*)$')
  end
elseif value then
  owners[1] = value
end
redis.call('DEL', lease, KEYS[3])
grant_head(nil, nil)
for _, old in ipairs(owners) do
  if string.match(old, '^[^:|]+:[^|]*|') then
    redis.pcall('PUBLISH', inbox_of(old), 'stop broken\n' .. old .. '\n' .. lease .. '\n')
  end
end
return {value and 'done' or 'free', value or ''}
