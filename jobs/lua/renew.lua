-- after: _common
-- ARGV: id, fence, lease in ms. → nil lease lost; '' go on; else the id of the person who cancelled
local id, fence, until_ms = ARGV[1], ARGV[2], now_ms() + num(ARGV[3])
if not holds(id, fence) then return nil end
redis.call('HSET', job_key(id), 'lease_until_ms', until_ms)
redis.call('ZADD', RUNNING, until_ms, id)
return redis.call('HGET', job_key(id), 'cancel_by') or ''
