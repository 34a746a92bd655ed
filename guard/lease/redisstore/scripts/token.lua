-- Mints the tokens of a grant to a waiter, above those before and not below the clock,
-- now: one, or count of them, at most 10 ms ahead of the clock. Returns a text: "<first>",
-- or "<first>+<how many>" if count is given.
local function tokens(count)
  local text = string.format('%.0f', now)
  if count == '' then
    if redis.call('ZADD', KEYS[4], 'GT', 'CH', text, 't') == 1 then return text end
    return string.format('%.0f', redis.call('ZINCRBY', KEYS[4], 1, 't'))
  end
  local first = math.max((tonumber(redis.call('ZSCORE', KEYS[4], 't') or 0) or 0) + 1, now)
  local last = math.max(first, math.min(first + count - 1, now + 10000))
  redis.call('ZADD', KEYS[4], string.format('%.0f', last), 't')
  return string.format('%.0f+%.0f', first, last - first + 1)
end
