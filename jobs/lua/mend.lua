-- ARGV: id, tries a job has, outcome where they are used up. Hold one open job against arq's keys. → what was mended, or nil
local id, tries, lost = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local state, until_ms, attempts, by = unpack(redis.call('HMGET', job_key(id), 'state', 'lease_until_ms', 'attempts', 'cancel_by'))
if not state or state == 'closed' then
  redis.call('SREM', OPEN, id)
  return nil
elseif state == 'waiting' then
  -- arq marks a job before its worker claims it, a moment later. A mark that stays belongs to a worker that died between.
  if redis.call('EXISTS', 'arq:in-progress:' .. id) == 0 then
    redis.call('HDEL', job_key(id), 'marked_ms')
  else
    redis.call('HSETNX', job_key(id), 'marked_ms', now_ms())
  end
  local marked = tonumber(redis.call('HGET', job_key(id), 'marked_ms') or now_ms())
  local findable = redis.call('ZSCORE', RENDERS, id) and redis.call('EXISTS', 'arq:job:' .. id) == 1
  if findable and now_ms() - marked < MARK_MS then return nil end
  redis.call('HDEL', job_key(id), 'marked_ms')
  line_up(id)
  return 'requeued'
elseif state == 'running' then
  if tonumber(until_ms) > now_ms() then return nil end
  if by then
    finish(id, 'cancelled', cjson.encode({kind = 'cancelled', by = by}))
    return 'cancelled'
  elseif tonumber(attempts) >= tries then
    finish(id, 'failed', lost)
    return 'failed'
  end
  redis.call('HINCRBY', job_key(id), 'fence', 1)  -- whoever held it may come back: not with this job
  redis.call('HSET', job_key(id), 'state', 'waiting')
  redis.call('HDEL', job_key(id), 'worker', 'lease_until_ms', 'progress')
  line_up(id)
  announce(id)
  return 'recovered'
end
-- Ended. A bot that died while posting left arq's in-progress mark, which would hide the delivery for many minutes.
local posting = tonumber(redis.call('HGET', job_key(id), 'delivering_until_ms') or 0) > now_ms()
local lined_up = redis.call('ZSCORE', DELIVERIES, 'deliver-' .. id) and redis.call('EXISTS', 'arq:job:deliver-' .. id) == 1
local marked = redis.call('EXISTS', 'arq:in-progress:deliver-' .. id) == 1
if posting or (lined_up and not marked) then return nil end
redis.call('DEL', 'arq:in-progress:deliver-' .. id)
if not lined_up then hand_to_bot(id) end
return 'delivery'
