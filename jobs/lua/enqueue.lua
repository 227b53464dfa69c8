-- after: _common _media _fair
-- ARGV: id, submission, guild, person, channel, kind, cost in GPU ms, weights of person and guild, most open, most running,
-- GPU ms a day (0: any), when the day began in ms, the channel in which a thread hangs, or ''.
-- → {'ok'}, {'known'}, {'many'}, or {'much', GPU ms used, GPU ms open}
local id, submission, guild, person, channel, kind, cost = unpack(ARGV, 1, 7)
local weight, guild_weight, most, most_running, day_ms, day_began, parent = unpack(ARGV, 8, 14)
if redis.call('EXISTS', job_key(id)) == 1 then return {'known'} end
if num(most) > 0 and redis.call('SCARD', person_key(person)) >= num(most) then return {'many'} end
if num(day_ms) > 0 then
  local used, open = 0, 0
  for _, entry in ipairs(redis.call('ZRANGEBYSCORE', spent_key('person', person), day_began, '+inf')) do
    used = used + num(entry:match(' (%S+)$'))
  end
  for _, other in ipairs(redis.call('SMEMBERS', person_key(person))) do
    local state, estimate = unpack(redis.call('HMGET', job_key(other), 'state', 'cost'))
    if state == 'waiting' or state == 'running' then open = open + num(estimate) end
  end
  if used + open + num(cost) > num(day_ms) then return {'much', tostring(used), tostring(open)} end
end
redis.call('HSET', job_key(id), 'submission', submission, 'guild', guild, 'person', person, 'channel', channel,
  'parent', parent, 'kind', kind, 'cost', cost, 'seq', redis.call('INCR', 'zoetrope:ticket'),
  'state', 'waiting', 'fence', 0, 'attempts', 0)
redis.call('SADD', OPEN, id)
redis.call('SADD', person_key(person), id)
admit(facts(id), weight, guild_weight, most_running)
media_accepted(id, person)
announce(id)
return {'ok'}
