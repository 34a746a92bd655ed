-- renew: extend exclusive leases that their owners still hold.
--
-- KEYS leases, one or more
-- ARGV the owner id of each; and last the TTL from now, ms
--
-- Returns for each lease 1      extended
--                        value  not the owner's; nil if the key is free
--                        error  it could not be read
--
-- Invariant: never creates a lease, never touches another owner's.

local replies, ttl = {}, ARGV[#ARGV]
for i, lease in ipairs(KEYS) do
  local holder = redis.pcall('GET', lease)
  if holder == ARGV[i] then
    redis.call('PEXPIRE', lease, ttl)
    holder = 1
  elseif type(holder) == 'table' and string.sub(holder.err, 1, 9) == 'WRONGTYPE' then
    holder = 'a ' .. redis.call('TYPE', lease).ok .. ' of another program' -- whose lock it is
  end
  replies[i] = holder
end
return replies
