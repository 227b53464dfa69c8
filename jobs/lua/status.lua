-- after: _common
-- ARGV: id, status message. The job keeps the first one. → the one it keeps, or nil where there is no such job
local id, message = ARGV[1], ARGV[2]
if redis.call('EXISTS', job_key(id)) == 0 then return nil end
redis.call('HSETNX', job_key(id), 'status_message', message)
return redis.call('HGET', job_key(id), 'status_message')
