-- broken: tell those again that their leases were broken who have not answered. A holder does not
-- hear before its lease is 100 ms old. Preceded by owners.lua.
--
-- KEYS[2] asked, as in revoke.lua
-- ARGV[1] prefix of the inboxes' names
-- ARGV[2] their owner ids, a line each
--
-- Returns the owners that have not answered
--
-- Invariant: the lease is not touched. docs/design/operate.md

local known = redis.call('ZSCORE', mark, 'asked') -- else it was lost, and no answer is known
local silent = {}
for owner in string.gmatch(ARGV[2], '[^\n]+') do
  if not known then redis.pcall('ZADD', mark, string.format('%.0f', now), 'asked', string.format('%.0f', now), owner) end
  if not known or redis.call('ZSCORE', mark, owner) then
    silent[#silent + 1] = owner
    ask('broken', owner, ARGV[1], '')
  end
end
redis.call('PEXPIRE', mark, 60000)
return silent
