-- after: _common _media _motions
-- ARGV: id of the job that learned it, its owner, name as spelled, JSON, most an owner may have, '1' where they ask once more.
-- What is answered stands in the job's record, so that a second delivery brings back nothing that was deleted meanwhile.
-- → 'kept'; 'replaced': the owner had one of this name; 'full'; 'gone': there is no such job, or it is to be forgotten
local id, owner, name, document, most, again = ARGV[1], ARGV[2], ARGV[3], ARGV[4], num(ARGV[5]), ARGV[6] == '1'
local state, told, forget = unpack(redis.call('HMGET', job_key(id), 'state', 'motion', 'forget'))
if forget or (state ~= 'rendered' and state ~= 'closed') then return 'gone' end
if told and not again then return told end
local before = redis.call('HGET', motions_key(owner), name)
local answer = 'kept'
if before then
  if cjson.decode(before).job_id ~= id then answer = 'replaced' end
elseif redis.call('HLEN', motions_key(owner)) >= most then
  answer = 'full'
end
if answer ~= 'full' then put_motion(owner, name, document) end
redis.call('HSET', job_key(id), 'motion', answer)
return answer
