-- after: _common _fair
-- ARGV: id, fence, '1' where the try does not count. → 1, or 0 where the lease is lost. Back to its own place in the line,
-- unless its person cancelled it meanwhile.
local id, fence, free = ARGV[1], ARGV[2], ARGV[3]
if not holds(id, fence) then return 0 end
local by = redis.call('HGET', job_key(id), 'cancel_by')
if by then
  retire(facts(id), 0)
  finish(id, 'cancelled', cjson.encode({kind = 'cancelled', by = by}))
  return 1
end
if free == '1' then redis.call('HINCRBY', job_key(id), 'attempts', -1) end
give_back(facts(id))
return 1
