-- Which jobs use which files of the store, and whose jobs they are. Put after _common.lua before every script; what it is
-- for stands in jobs/retention.py. `until` is in ms: FOREVER while the job is open, then the instant it was closed.

local MEDIA = 'zoetrope:media'                   -- zset: digest → until when it is, or was, used; 0: to be swept at once
local FOREVER = 9000000000000000                 -- a whole number that a double still holds
local REFS_SECONDS = 366 * 24 * 3600             -- the sweeper takes these keys away long before
local FORGOTTEN_SECONDS = 60                     -- whoever looks at a closed job right now may still finish
local BROUGHT_SECONDS = 31 * 24 * 3600           -- so long it is known who brought a picture that became no job's

local function refs_key(digest) return 'zoetrope:refs:' .. digest end          -- zset: job id → until
local function sweeping_key(digest) return 'zoetrope:sweeping:' .. digest end  -- who deletes it right now
local function history_key(person) return 'zoetrope:history:' .. person end    -- zset: job id → until
local function brought_key(person) return 'zoetrope:brought:' .. person end    -- zset: job id and digest → when

-- The latest `until` among a zset's members, or nil where it is empty.
local function latest(key)
  return tonumber(redis.call('ZREVRANGE', key, 0, 0, 'WITHSCORES')[2])
end

-- A zset of untils stays while something in it is open, and goes by itself `seconds` after the last was closed.
local function expire_unless_open(key, seconds)
  if latest(key) == FOREVER then redis.call('PERSIST', key) else redis.call('EXPIRE', key, seconds) end
end

local function use(digest, id, until_ms)
  redis.call('ZADD', refs_key(digest), until_ms, id)
  redis.call('ZADD', MEDIA, latest(refs_key(digest)), digest)
  expire_unless_open(refs_key(digest), REFS_SECONDS)
end

-- The digests in an outcome: a clip has files, and one that taught a motion has that too; other ends have none.
local function digests_made(outcome)
  local made, found = outcome and cjson.decode(outcome) or {}, {}
  for _, file in ipairs(made.files or {}) do table.insert(found, file.digest) end
  if type(made.motion) == 'string' then table.insert(found, made.motion) end
  return found
end

-- Inputs and results of a job.
local function digests_of(id)
  local submission, outcome = unpack(redis.call('HMGET', job_key(id), 'submission', 'outcome'))
  local found = digests_made(outcome)
  for _, source in pairs(submission and cjson.decode(submission).recipe.sources or {}) do
    table.insert(found, source.digest)
  end
  return found
end

-- Stop counting this job as a user of this file. → whether nobody else uses it, so that it may be swept at once
local function let_go(digest, id)
  local refs = refs_key(digest)
  redis.call('ZREM', refs, id)
  for _, other in ipairs(redis.call('ZRANGEBYSCORE', refs, '-inf', now_ms())) do
    if redis.call('EXISTS', job_key(other)) == 0 then redis.call('ZREM', refs, other) end
  end
  redis.call('ZADD', MEDIA, latest(refs) or 0, digest)
  return not latest(refs)
end

-- The same for all of its files. → digests that may be swept at once
local function disown(id)
  local orphans = {}
  for _, digest in ipairs(digests_of(id)) do
    if let_go(digest, id) then table.insert(orphans, digest) end
  end
  return orphans
end

-- Remember who brought a file for a job that is not accepted yet, and may never be: it is in nobody's history.
local function brought(person, id, digest)
  local key = brought_key(person)
  redis.call('ZADD', key, now_ms(), id .. ' ' .. digest)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now_ms() - BROUGHT_SECONDS * 1000)
  redis.call('EXPIRE', key, BROUGHT_SECONDS)
end

-- Nobody shall find this job by a file of its any more (`jobs/proofs.py`).
local function forget_files(id)
  for _, trace in ipairs(redis.call('SMEMBERS', 'zoetrope:left:' .. id)) do
    redis.call('DEL', 'zoetrope:made:' .. trace)
    redis.call('ZREM', 'zoetrope:prints', id .. ' ' .. trace)
  end
  redis.call('DEL', 'zoetrope:left:' .. id)
end

-- What else is kept of a job: its last preview, the question before it, and, where it was set aside, its renderer's words.
local function forget_traces(id)
  redis.call('DEL', 'zoetrope:preview:' .. id, 'zoetrope:asked:' .. id)
  redis.call('HDEL', 'zoetrope:aside', id)
  forget_files(id)
end

-- Call when a job was accepted, its record written: its inputs stay until it is closed.
local function media_accepted(id, person)
  for _, digest in ipairs(digests_of(id)) do
    use(digest, id, FOREVER)
    redis.call('ZREM', brought_key(person), id .. ' ' .. digest)
  end
  redis.call('ZADD', history_key(person), FOREVER, id)
  redis.call('PERSIST', history_key(person))
end

-- Call when a job was settled with this outcome: its files stay until it is closed.
local function media_settled(id, outcome)
  for _, digest in ipairs(digests_made(outcome)) do use(digest, id, FOREVER) end
end

-- Call when a job was closed whose record would be kept for so many seconds. → seconds to keep it
local function media_closed(id, person, keep_seconds)
  local history, expired = history_key(person), '(' .. (now_ms() - keep_seconds * 1000)
  if redis.call('HGET', job_key(id), 'forget') then
    disown(id)
    forget_traces(id)
    redis.call('ZREM', history, id)
    keep_seconds = math.min(keep_seconds, FORGOTTEN_SECONDS)
  else
    for _, digest in ipairs(digests_of(id)) do
      redis.call('ZREMRANGEBYSCORE', refs_key(digest), '-inf', expired)
      use(digest, id, now_ms())
    end
    redis.call('ZADD', history, now_ms(), id)
  end
  redis.call('ZREMRANGEBYSCORE', history, '-inf', expired)
  expire_unless_open(history, keep_seconds)
  return keep_seconds
end
