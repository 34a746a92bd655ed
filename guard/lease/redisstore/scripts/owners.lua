-- For scripts with a message to the holders of a key.
--
-- KEYS[1] lease  KEYS[2] of the script's own  KEYS[3] holders, all in one slot

local lease, mark = KEYS[1], KEYS[2]
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

-- Returns how the key is held (free, held, closed or foreign), the value of the lease
-- key, which of a key of another type says so, and the owner ids of all holders.
local function holders_of()
  local value = redis.pcall('GET', lease)
  if type(value) == 'table' then
    local kind = redis.call('TYPE', lease).ok
    if kind == 'string' then redis.call('GET', lease) end -- another error: raise it
    return 'foreign', 'a ' .. kind .. ' of another program', {}
  end
  if not value then return 'free', '', {} end
  local owners, kept = {}, false
  local function add(owner)
    if string.sub(owner, 1, 7) == 'closed|' then kept = true else owners[#owners + 1] = owner end
  end
  local marker = string.sub(value, 1, 7) == 'shared|' or string.sub(value, 1, 8) == 'limited|'
  if marker and redis.call('EXISTS', KEYS[3]) == 1 then
    for _, member in ipairs(redis.call('ZRANGE', KEYS[3], string.format('(%.0f', now), '+inf', 'BYSCORE')) do
      add(string.match(member, '^[^;]*;(.*)$'))
    end
  elseif string.sub(value, 1, 7) == 'closed|' or string.match(value, '^[^:|]+:[^|]*|') then
    add(value)
  else
    return 'foreign', value, {}
  end
  if #owners == 0 then return kept and 'closed' or 'free', value, owners end
  return 'held', value, owners
end

-- pcall: without permission to publish nobody hears.
local function ask(kind, owner, inbox, text)
  redis.pcall('PUBLISH', inbox .. string.match(owner, '^[^:|]*'), 'stop ' .. kind .. '\n' .. owner .. '\n' .. lease .. '\n' .. text)
end
