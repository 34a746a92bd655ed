-- members: a page of the queue or of the holders. It only reads, as inspect.lua does.
--
-- KEYS[1] queue or holders
-- ARGV[1] from this score on
-- ARGV[2] how many at most
--
-- Returns {member, its score, …}

return redis.call('ZRANGE', KEYS[1], ARGV[1], '+inf', 'BYSCORE', 'LIMIT', 0, ARGV[2], 'WITHSCORES')
