-- after: _common
-- ARGV: scope, who. Jobs in it are held as their turn comes; what runs goes on. → 1 where it was not paused before
return redis.call('HSETNX', PAUSED, ARGV[1], ARGV[2])
