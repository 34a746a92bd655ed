-- replace: a newcomer that waits for a key asks all its holders to stop, unless another
-- newcomer has come since. Preceded by owners.lua.
--
-- KEYS[2] turn of the latest newcomer
-- ARGV[1] owner id of the newcomer
-- ARGV[2] prefix of the inboxes' names
-- ARGV[3] its turn, 0 = first question
--
-- Returns its turn; 0: it was superseded, and nobody was asked
--
-- Invariants: the turns of a key rise; the lease is not touched. docs/design/operate.md

local latest, turn = tonumber(redis.call('GET', mark) or 0) or 0, tonumber(ARGV[3])
if turn == 0 then
  turn = math.max(now, latest + 1)
elseif turn < latest then
  return 0
end
redis.call('SET', mark, string.format('%.0f', turn), 'PX', 60000)
local _, _, owners = holders_of()
for _, owner in ipairs(owners) do
  if owner ~= ARGV[1] then ask('replaced', owner, ARGV[2], '') end
end
return turn
