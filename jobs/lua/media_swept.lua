-- after: _common _media
-- ARGV: digest, sweeper, '1' where the file is gone, ms when it is due again where it is not (as if last used then).
-- → 1 where nothing knows it any more
local digest, sweeper, gone, again_ms = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if redis.call('GET', sweeping_key(digest)) ~= sweeper then return 0 end
redis.call('DEL', sweeping_key(digest))
if (latest(refs_key(digest)) or 0) > now_ms() then return 0 end
if gone ~= '1' then
  redis.call('ZADD', MEDIA, again_ms, digest)
  return 0
end
redis.call('DEL', refs_key(digest))
return redis.call('ZREM', MEDIA, digest)
