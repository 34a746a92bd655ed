-- revoke: ask all holders of a key to stop, over the inboxes of their processes. Those that
-- were asked and have not answered are in a ZSET, by the time of the first question; a
-- process that got the message removes its owner. Preceded by owners.lua.
--
-- KEYS[2] asked; its member "asked" says that it was not lost since
-- ARGV[1] text, why
-- ARGV[2] prefix of the inboxes' names
-- ARGV[3] first = first question; "again" = ask those again that have not answered, which
--         are the lines behind it if the set was lost, as by a failover
--
-- Returns {kind, value of the lease key, owners that have not answered …}
--         kind and value as in owners.lua
--
-- Invariants: the lease is not touched; the first write works when memory is full.
-- docs/design/operate.md

local kind, value, owners = holders_of()
local first = ARGV[3] == 'first'
local known = first or redis.call('ZSCORE', mark, 'asked')
local asked = {}
if not known then
  for owner in string.gmatch(ARGV[3], '[^\n]+') do asked[owner] = true end
end
redis.call('PEXPIRE', mark, 60000)
if first or not known then redis.call('ZADD', mark, string.format('%.0f', now), 'asked') end
local reply = {kind, value}
for _, owner in ipairs(owners) do
  if first or asked[owner] then redis.call('ZADD', mark, string.format('%.0f', now), owner) end
  if redis.call('ZSCORE', mark, owner) then
    reply[#reply + 1] = owner
    ask('revoked', owner, ARGV[2], ARGV[1])
  end
end
redis.call('PEXPIRE', mark, 60000)
return reply
