-- tick_claim: claim a tick of a schedule.
--
-- KEYS[1] tick: a hash of the last tick that was claimed
--         tick   its scheduled time, µs since 1970
--         done   0 or 1
--         owner  owner id of the claim
--         fence  token of the claim, 0 = none
--         attempts, since, dead   see lease.Tick; absent = 1, none, none
--         again  the owner that left the tick to the next one; another than owner = none
-- ARGV[1] owner id
-- ARGV[2] scheduled time, µs since 1970
-- ARGV[3] how far it may lie ahead of the server's clock, µs; negative = no bound
-- ARGV[4] token of the claimant's lease, 0 = none
-- ARGV[5] words, or missing
--         rerun  also claim a tick that was claimed under a lower token and is not
--                done, and no later one before it is done
--         gap    ticks after the last one are passed over
--         =N     what attempts becomes, for an owner that has not claimed the tick yet
--
-- Returns {1}                              claimed
--         {0, tick, done, owner, fence}    not claimed; the last tick
--         {2, µs ahead}                    too far ahead: no effect
--
-- Invariants: the last tick never gets earlier, nor its token lower, except 0; a
-- tick that is done is never claimed; one that is not done is claimed again only by
-- the same owner, or under a higher token.

local last = redis.call('HMGET', KEYS[1], 'tick', 'done', 'owner', 'fence', 'attempts')
local at, done, before = last[1] and tonumber(last[1]), last[2] == '1', tonumber(last[4])
local how = ARGV[5] or ''
local tick, token, rerun = tonumber(ARGV[2]), tonumber(ARGV[4]), string.find(how, 'rerun')

local open
if not at then
  open = true
elseif tick > at then
  open = (token == 0 or token >= before) and (done or not rerun or token == before)
else
  open = tick == at and not done and (last[3] == ARGV[1] or rerun and token > before)
end
if not open then return {0, at, tonumber(last[2]), last[3], before} end

local bound = tonumber(ARGV[3])
if bound >= 0 and (not at or tick > at) then
  local time = redis.call('TIME')
  local ahead = tick - (time[1] * 1000000 + time[2])
  if ahead > bound then return {2, ahead} end
end

local counted = string.match(how, '=(%d+)') -- miniredis: no value, not nil, if there is none
local attempts = 1
if tick == at and last[3] == ARGV[1] then
  attempts = tonumber(last[5]) or 1
elseif counted then
  attempts = tonumber(counted)
elseif tick == at then
  attempts = (tonumber(last[5]) or 1) + 1
end
redis.call('HSET', KEYS[1], 'tick', ARGV[2], 'done', '0', 'owner', ARGV[1], 'fence', ARGV[4], 'attempts', attempts)
if at and tick > at and string.find(how, 'gap') then redis.call('HSET', KEYS[1], 'since', ARGV[2]) end
redis.call('EXPIRE', KEYS[1], 34560000) -- 400 days: longer than a yearly schedule needs
return {1}
