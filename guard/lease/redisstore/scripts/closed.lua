-- The value of a key that is kept shut after its owner left. This file is put in
-- front of the scripts that release. It reads like an owner id of no process:
-- "closed|<owner name>|<carrier>".

local function closed_by(owner)
  return 'closed' .. (string.match(owner, '|.*') or '|' .. owner)
end
