-- after: _common _fair
-- ARGV: id, who. → 'cancelled' out of the line, 'stopping' told to its worker, 'ended' too late, nil no such job
local id, who = ARGV[1], ARGV[2]
local state = redis.call('HGET', job_key(id), 'state')
if not state then return nil end
if state == 'waiting' then
  local job = facts(id)
  bill(job, 0)
  leave_line(job)
  finish(id, 'cancelled', cjson.encode({kind = 'cancelled', by = who}))
  return 'cancelled'
elseif state == 'running' then
  redis.call('HSETNX', job_key(id), 'cancel_by', who)
  announce(id)
  return 'stopping'
end
return 'ended'
