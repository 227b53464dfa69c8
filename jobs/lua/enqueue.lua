-- ARGV: id, submission, requester id, how many jobs one person may have open, system. → place in line, 0 known already, -1 too many
local id, submission, requester, most, system = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]
if redis.call('EXISTS', job_key(id)) == 1 then return 0 end
if redis.call('SCARD', person_key(requester)) >= most then return -1 end
local ticket = redis.call('INCR', 'zoetrope:ticket')
redis.call('HSET', job_key(id), 'submission', submission, 'system', system, 'state', 'waiting', 'score', ticket, 'fence', 0, 'attempts', 0)
redis.call('SADD', OPEN, id)
redis.call('SADD', person_key(requester), id)
line_up(id)
return redis.call('ZRANK', RENDERS, id) + 1
