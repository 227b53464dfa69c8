-- ARGV: id, fence, state, outcome. → 1, or 0 where the lease is lost. A cancel that came before the end wins.
local id, fence, state, outcome = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if not holds(id, fence) then return 0 end
local by = redis.call('HGET', job_key(id), 'cancel_by')
if by then
  state, outcome = 'cancelled', cjson.encode({kind = 'cancelled', by = by})
end
finish(id, state, outcome)
return 1
