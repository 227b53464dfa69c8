-- after: _common _media _motions
-- ARGV: owner, name as spelled. → 1, or 0 where there is none. Its file is swept soon, unless somebody else uses it
local there = redis.call('HGET', motions_key(ARGV[1]), ARGV[2])
drop_motion(ARGV[1], ARGV[2])
return there and 1 or 0
