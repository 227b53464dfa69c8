-- after: _common _fair
-- ARGV: id, outcome. End a job that waits in vain. → 1, or 0 where it does not wait
local id, outcome = ARGV[1], ARGV[2]
if redis.call('HGET', job_key(id), 'state') ~= 'waiting' then return 0 end
leave_line(facts(id))
finish(id, 'failed', outcome)
return 1
