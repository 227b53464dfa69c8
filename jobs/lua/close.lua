-- after: _common _media
-- ARGV: id, final message or '', seconds to keep the record. → 1, or 0 where the job was closed before or has not ended
local id, message, keep = ARGV[1], ARGV[2], num(ARGV[3])
local state, person = unpack(redis.call('HMGET', job_key(id), 'state', 'person'))
if not state or state == 'closed' or state == 'waiting' or state == 'running' then return 0 end
redis.call('HSET', job_key(id), 'state', 'closed', 'final_message', message)
redis.call('SREM', OPEN, id)
redis.call('SREM', ENDED, id)
redis.call('SREM', person_key(person), id)
arq_drop(DELIVERIES, 'deliver-' .. id)  -- a bot that dies before arq tidies up would leave its mark
redis.call('EXPIRE', job_key(id), media_closed(id, person, keep))
announce(id)
return 1
