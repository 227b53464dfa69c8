-- after: _common
-- ARGV: id, fence, progress. → 1, or 0 where the lease is lost
local id, fence, progress = ARGV[1], ARGV[2], ARGV[3]
if not holds(id, fence) then return 0 end
redis.call('HSET', job_key(id), 'progress', progress)
announce(id)
return 1
