-- revoke: ask all holders of a key to stop, over the inboxes of their processes. Those that
-- were asked and have not answered are in a ZSET, by the time of the first question; a
-- process that got the message removes its owner. Preceded by owners.lua.
--
-- KEYS[2] asked
-- ARGV[1] text, why
-- ARGV[2] prefix of the inboxes' names
-- ARGV[3] 1 = first question; 0 = ask those again that have not answered
--
-- Returns {kind, value of the lease key, owners that have not answered …}
--         kind and value as in owners.lua
--
-- Invariant: the lease is not touched. docs/design/operate.md

local kind, value, owners = holders_of()
local reply = {kind, value}
for _, owner in ipairs(owners) do
  if ARGV[3] == '1' then redis.call('ZADD', mark, string.format('%.0f', now), owner) end
  if redis.call('ZSCORE', mark, owner) then
    reply[#reply + 1] = owner
    ask('revoked', owner, ARGV[2], ARGV[1])
  end
end
if ARGV[3] == '1' then redis.call('PEXPIRE', mark, 60000) end
return reply
