-- call: a run begins or ends: the next task of the line gets the turn and is woken.
--
-- ARGV[3] -1: it begins; else it ends; 0: and tasks on their way are dropped
--
-- Returns {0} nothing to do, {1} called, {2} the next one is on its way into the retry
--         set, or its clone into that of scheduled tasks: ask again

redis.call('ZREM', KEYS[1], id, name)
if has and has ~= id then
  local now = state(has)
  if now == 'pending' then
    redis.call('HDEL', KEYS[2], 'left') -- it may wait, as if it had been called
    return {0}
  elseif now == 'active' and not left then
    if ARGV[3] ~= '-1' then redis.call('HSET', KEYS[2], 'free', 1) end
    return {0}
  end
end
for _, task in ipairs(redis.call('ZRANGE', KEYS[1], 0, 99)) do
  local woken, now = wake(task), state(task)
  if woken or now == 'pending' then
    give(task)
    return {1}
  end
  local transit = now == 'active' or not now and string.find(task, '~busy-', 1, true)
  if transit and ARGV[3] ~= '0' then return {2} end
  redis.call('ZREM', KEYS[1], task) -- deleted, archived or completed, or its server died
end
if ARGV[3] ~= '-1' then redis.call('DEL', KEYS[2]) end
return {0}
