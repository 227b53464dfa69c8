-- after: _common _media
-- ARGV: id, person who asked for it and wants it forgotten.
-- → 'forgotten', then digests that may be swept at once; 'later': as soon as it is closed; 'gone': there is no such job of theirs
local id, person = ARGV[1], ARGV[2]
local state, submission = unpack(redis.call('HMGET', job_key(id), 'state', 'submission'))
if not state or cjson.decode(submission).requester.id ~= person then
  redis.call('ZREM', history_key(person), id)
  return {'gone'}
elseif state ~= 'closed' then
  redis.call('HSET', job_key(id), 'forget', '1')
  return {'later'}
end
local orphans = disown(id)
forget_traces(id)
redis.call('DEL', job_key(id))
redis.call('ZREM', history_key(person), id)
return {'forgotten', unpack(orphans)}
