-- ARGV: id, lease in ms. The bot says that it is posting this end right now. → 1, or 0 where there is nothing to post
local id, lease_ms = ARGV[1], tonumber(ARGV[2])
local state = redis.call('HGET', job_key(id), 'state')
if state ~= 'rendered' and state ~= 'failed' and state ~= 'cancelled' then return 0 end
redis.call('HSET', job_key(id), 'delivering_until_ms', now_ms() + lease_ms)
return 1
