-- after: _common _fair
-- ARGV: id, fence, '1' where the try does not count, GPU ms it has used (-1: nobody knows). → 1, or 0 where the lease is
-- lost. Back to its own place in the line, unless its person cancelled it meanwhile.
local id, fence, free, used = ARGV[1], ARGV[2], ARGV[3] == '1', num(ARGV[4])
if not holds(id, fence) then return 0 end
local by = redis.call('HGET', job_key(id), 'cancel_by')
if by then
  local job = facts(id)
  bill(job, math.max(used, 0))
  retire(job, used)
  finish(id, 'cancelled', cjson.encode({kind = 'cancelled', by = by}))
  return 1
end
redis.call('HINCRBY', job_key(id), free and 'attempts' or 'tried_ms', free and -1 or math.max(used, 0))
give_back(facts(id))
return 1
