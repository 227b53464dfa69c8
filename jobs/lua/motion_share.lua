-- after: _common _media _motions
-- ARGV: the person, the owner to whom they give it, name as spelled, JSON as it will stand there.
-- → 1, or 0 where the person has no such motion any more
local person, owner, name, document = unpack(ARGV)
local own = redis.call('HGET', motions_key('person:' .. person), name)
if not own or digest_of(own) ~= digest_of(document) then return 0 end
put_motion(owner, name, document)
redis.call('SADD', shared_key(person), owner)
redis.call('EXPIRE', shared_key(person), MOTION_SECONDS)
return 1
