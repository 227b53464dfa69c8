-- ARGV: id, fence, lease in ms. → nil lease lost; '' go on; else the id of the person who cancelled
local id, fence, lease_ms = ARGV[1], ARGV[2], tonumber(ARGV[3])
if not holds(id, fence) then return nil end
redis.call('HSET', job_key(id), 'lease_until_ms', now_ms() + lease_ms)
return redis.call('HGET', job_key(id), 'cancel_by') or ''
