-- after: _common _media
-- ARGV: digest, ms that it is kept after its last use, sweeper, ms that the sweeper may take.
-- → 1: from now until `media_swept` nobody may begin to use it, delete it; 0: it is used, or somebody else is at it
local digest, keep_ms, sweeper, most_ms = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local used = latest(refs_key(digest)) or tonumber(redis.call('ZSCORE', MEDIA, digest) or FOREVER)
if used > 0 and used > now_ms() - keep_ms then
  redis.call('ZADD', MEDIA, 'XX', used, digest)
  return 0
end
return redis.call('SET', sweeping_key(digest), sweeper, 'NX', 'PX', most_ms) and 1 or 0
