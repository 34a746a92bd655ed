-- revoke: ask all holders of a key to stop, over the inboxes of their processes. Those that
-- were asked and have not answered are in a ZSET, by the time of the first question; a
-- process that got the message removes its owner.
--
-- KEYS[1] lease  KEYS[2] asked  KEYS[3] holders, all in one slot
-- ARGV[1] text, why
-- ARGV[2] prefix of the inboxes' names
-- ARGV[3] 1 = first question; 0 = ask those again that have not answered
--
-- Returns {kind, value of the lease key, owners that have not answered …}
--         kind is free, held, closed or foreign; of a key of another type the value
--         is the type
--
-- Invariant: the lease is not touched. docs/design/operate.md

local lease, asked, holders = KEYS[1], KEYS[2], KEYS[3]

local value = redis.pcall('GET', lease)
if type(value) == 'table' then
  if string.sub(value.err, 1, 9) ~= 'WRONGTYPE' then return value end
  return {'foreign', 'a ' .. redis.call('TYPE', lease).ok .. ' of another program'}
end
if not value then
  redis.call('DEL', asked)
  return {'free', ''}
end
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

local owners, kept = {}, false
local function add(owner)
  if string.sub(owner, 1, 7) == 'closed|' then kept = true else owners[#owners + 1] = owner end
end
local marker = string.sub(value, 1, 7) == 'shared|' or string.sub(value, 1, 8) == 'limited|'
if marker and redis.call('EXISTS', holders) == 1 then
  for _, member in ipairs(redis.call('ZRANGE', holders, 0, -1)) do
    if tonumber(redis.call('ZSCORE', holders, member)) > now then add(string.match(member, '^[^;]*;(.*)$')) end
  end
elseif string.sub(value, 1, 7) == 'closed|' or string.match(value, '^[^:|]+:[^|]*|') then
  add(value)
else
  return {'foreign', value}
end
if #owners == 0 then return {kept and 'closed' or 'free', value} end

local reply = {'held', value}
for _, owner in ipairs(owners) do
  if ARGV[3] == '1' then redis.call('ZADD', asked, string.format('%.0f', now), owner) end
  if redis.call('ZSCORE', asked, owner) then
    reply[#reply + 1] = owner
    redis.pcall('PUBLISH', ARGV[2] .. string.match(owner, '^[^:|]*'), 'stop revoked\n' .. owner .. '\n' .. lease .. '\n' .. ARGV[1])
  end
end
if ARGV[3] == '1' then redis.call('PEXPIRE', asked, 60000) end
return reply
