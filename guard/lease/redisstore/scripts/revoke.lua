-- revoke: ask holders of a key to stop, over the inboxes of their processes. Those that
-- were asked and have not answered are in a ZSET, by the time of the first question; a
-- process that got the message removes its owner. Preceded by owners.lua and named.lua.
--
-- KEYS[2] asked; its member "asked" says that it was not lost since
-- ARGV[1] text, why
-- ARGV[2] prefix of the inboxes' names
-- ARGV[3] "first", and behind it on a line the holder that is meant if not all are = first
--         question; "again" = ask those again that have not answered, which are the lines
--         behind it
--
-- Returns {kind, value of the lease key, n, n owners that hold the key and have not
--          answered …, owners that hold it no more and had not answered …}
--         kind and value as in owners.lua; another: none of the holders is meant
--
-- Invariants: the lease is not touched; the first write works when memory is full.
-- docs/design/operate.md

local kind, value, owners = holders_of()
local first = string.match(ARGV[3], '^first\n?(.*)$')
local known = not first and redis.call('ZSCORE', mark, 'asked')
local asked, holds = {}, {}
for _, owner in ipairs(owners) do
  holds[owner] = true
  if first and named(owner, first) then asked[#asked + 1] = owner end
end
if first and #asked == 0 then
  return {#owners > 0 and 'another' or kind, owners[1] or value, 0}
end
if not first then
  for owner in string.gmatch(string.sub(ARGV[3], 7), '[^\n]+') do asked[#asked + 1] = owner end
end
redis.call('PEXPIRE', mark, 60000)
if not known then redis.call('ZADD', mark, string.format('%.0f', now), 'asked') end
local silent, ended = {}, {}
for _, owner in ipairs(asked) do
  -- After a failover no answer is known.
  if not known then redis.call('ZADD', mark, string.format('%.0f', now), owner) end
  if redis.call('ZSCORE', mark, owner) then
    if holds[owner] then
      silent[#silent + 1] = owner
      ask('revoked', owner, ARGV[2], ARGV[1])
    else
      ended[#ended + 1] = owner
    end
  end
end
redis.call('PEXPIRE', mark, 60000)
local reply = {kind, value, #silent}
for _, owner in ipairs(silent) do reply[#reply + 1] = owner end
for _, owner in ipairs(ended) do reply[#reply + 1] = owner end
return reply
