-- after: _common _media
-- ARGV: digest of a file that lies in the store, ms when it was written. What nobody knows of counts as last used then;
-- a user that is open for ever because its record was lost is no user. → 1 where something had to be put right
local digest, written_ms = ARGV[1], ARGV[2]
local refs = refs_key(digest)
local mended = redis.call('ZADD', MEDIA, 'NX', latest(refs) or written_ms, digest)
for _, id in ipairs(redis.call('ZRANGEBYSCORE', refs, FOREVER, FOREVER)) do
  local state = redis.call('HGET', job_key(id), 'state')
  if not state or state == 'closed' then
    use(digest, id, now_ms())
    mended = 1
  end
end
return mended
