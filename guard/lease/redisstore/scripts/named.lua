-- For orders to a holder: whether wanted names an owner id, as lease.Holder.Named: whole, by
-- "<process>:<sequence>", or by its process. '' names all.
local function named(owner, wanted)
  if wanted == '' or wanted == owner then return true end
  local process, sequence = string.match(owner, '^([^:|]+):([^|]*)|')
  return process and (wanted == process or wanted == process .. ':' .. sequence)
end
