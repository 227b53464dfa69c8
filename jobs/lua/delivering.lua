-- after: _common
-- ARGV: id, lease in ms, '1' at the start of a try. The bot says that it is posting this end right now.
-- → how many tries this end has had, or -1 where there is nothing to post
local id, lease_ms, begins = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local state = redis.call('HGET', job_key(id), 'state')
if state ~= 'rendered' and state ~= 'failed' and state ~= 'cancelled' then return -1 end
redis.call('HSET', job_key(id), 'delivering_until_ms', now_ms() + lease_ms)
return redis.call('HINCRBY', job_key(id), 'deliveries', begins == '1' and 1 or 0)
