-- after: _common _media _fair
-- ARGV: id, fence, state, outcome, GPU ms it has used. → 1, or 0 where the lease is lost. A cancel that came before the end
-- wins. Who gets a clip, or stopped one, pays what it took (-1: as estimated); who gets neither pays nothing.
local id, fence, state, outcome, used = ARGV[1], ARGV[2], ARGV[3], ARGV[4], num(ARGV[5])
if not holds(id, fence) then return 0 end
local by = redis.call('HGET', job_key(id), 'cancel_by')
if by then
  state, outcome = 'cancelled', cjson.encode({kind = 'cancelled', by = by})
end
local job = facts(id)
if used < 0 then used = job.cost end
retire(job, state == 'failed' and 0 or used)
media_settled(id, outcome)
finish(id, state, outcome)
return 1
