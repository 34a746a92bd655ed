-- break: end leases of a key at once, and grant the key to the head of the queue. Preceded by
-- argument.lua, queue.lua and named.lua. KEYS as in release.lua, and
-- KEYS[6] asked, as in revoke.lua
-- ARGV[1] the holder that is meant; '' = all
-- ARGV[5] as in argument.lua; used are single and inbox prefix
--
-- Returns {kind, value, owners whose leases were ended …}
--         kind is free, done, other: a key of another type, or another: none of the holders is
--         meant; the last two touch nothing. value is what was under the key, the
--         type, or the first of the others
--
-- Invariants: a key that is free afterwards has no live waiters; the counter of tokens is
-- not touched, so the next token is higher; the first write works when memory is full.

local wanted, asked = ARGV[1], KEYS[6]
local value = redis.pcall('GET', lease)
if type(value) == 'table' then
  if string.sub(value.err, 1, 9) ~= 'WRONGTYPE' then return value end
  return {'other', redis.call('TYPE', lease).ok}
end
local owners, members, another = {}, {}, nil
local function add(owner, member)
  if named(owner, wanted) then
    owners[#owners + 1], members[#members + 1] = owner, member
  else
    another = another or owner
  end
end
if is_marker(value) then
  for _, member in ipairs(redis.call('ZRANGE', KEYS[3], '(' .. number(clock()), '+inf', 'BYSCORE')) do
    add(string.match(member, '^[^;]*;(.*)$'), member)
  end
elseif value then
  add(value, '')
end
if another and #owners == 0 then return {'another', another} end
if another then -- they share the key, and go on
  for _, member in ipairs(members) do redis.call('ZREM', KEYS[3], member) end
  local rest = prune(value)
  set_marker(rest)
  grant_head(rest, nil)
else
  redis.call('DEL', lease, KEYS[3])
  grant_head(nil, nil)
end
local reply = {value and 'done' or 'free', value or ''}
for _, old in ipairs(owners) do
  reply[#reply + 1] = old
  if string.match(old, '^[^:|]+:[^|]*|') then
    redis.pcall('ZADD', asked, number(clock()), 'asked', number(clock()), old)
    redis.pcall('PUBLISH', inbox_of(old), 'stop broken\n' .. old .. '\n' .. lease .. '\n')
  end
end
redis.call('PEXPIRE', asked, 60000)
return reply
