-- after: _common _media _fair
-- ARGV: id, fence, state, outcome, GPU ms it has used (-1: as estimated), '1' where somebody pays for it.
-- → 1, or 0 where the lease is lost. A cancel that came before the end wins.
local id, fence, state, outcome, used, pays = ARGV[1], ARGV[2], ARGV[3], ARGV[4], num(ARGV[5]), ARGV[6] == '1'
if not holds(id, fence) then return 0 end
local by = redis.call('HGET', job_key(id), 'cancel_by')
if by then
  state, outcome = 'cancelled', cjson.encode({kind = 'cancelled', by = by})
end
local job, made = facts(id), state == 'rendered'
if pays then bill(job, used, made) end
retire(job, used, made)
media_settled(id, outcome)
finish(id, state, outcome)
return 1
