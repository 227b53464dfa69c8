-- ARGV: id, worker, lease in ms. → new fencing token, or nil where the job does not wait
local id, worker, lease_ms = ARGV[1], ARGV[2], tonumber(ARGV[3])
if redis.call('HGET', job_key(id), 'state') ~= 'waiting' then return nil end
local fence = redis.call('HINCRBY', job_key(id), 'fence', 1)
redis.call('HINCRBY', job_key(id), 'attempts', 1)
redis.call('HDEL', job_key(id), 'marked_ms')
redis.call('HSET', job_key(id), 'state', 'running', 'worker', worker, 'lease_until_ms', now_ms() + lease_ms, 'started_ms', now_ms())
announce(id)
return fence
