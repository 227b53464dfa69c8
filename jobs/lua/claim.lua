-- after: _common _fair
-- ARGV: id, worker, lease in ms. Start this very job, whoever's turn it is. → fencing token, or nil where it does not wait
local id, worker, lease_ms = ARGV[1], ARGV[2], num(ARGV[3])
if redis.call('HGET', job_key(id), 'state') ~= 'waiting' or redis.call('SISMEMBER', HELD, id) == 1 then return nil end
return start(facts(id), worker, lease_ms)
