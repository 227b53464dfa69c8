-- after: _common _fair
-- ARGV: id, how many lost leases end a job, outcome where they do. Hold one open job against the line and arq's keys.
-- → what was mended, or nil
local id, most_lost, outcome = ARGV[1], num(ARGV[2]), ARGV[3]
local state, until_ms, lost, by = unpack(redis.call('HMGET', job_key(id), 'state', 'lease_until_ms', 'lost', 'cancel_by'))
if not state or state == 'closed' then
  redis.call('SREM', OPEN, id)
  redis.call('SREM', ENDED, id)
  redis.call('ZREM', RUNNING, id)
  return nil
elseif state == 'waiting' then
  local job = facts(id)
  if redis.call('SISMEMBER', HELD, id) == 1 then return nil end
  local lined_up = redis.call('ZSCORE', line_key(job.guild, job.person, job.kind), id)
  if not lined_up then
    local flows = read(job)
    append(flows)
    write(flows)
    note_waiting(job, 0)
  end
  local head = redis.call('HGET', HEADS, job.guild .. '|' .. job.kind) == id
  local findable = redis.call('EXISTS', 'arq:job:' .. id) == 1 and (not head or redis.call('ZSCORE', RENDERS, id))
  if lined_up and findable then return nil end
  for_arq(job)
  if head then redis.call('ZADD', RENDERS, precise(read(job).guild.tag + 1), id) end
  return 'requeued'
elseif state == 'running' then
  if num(until_ms) > now_ms() then return nil end
  local job = facts(id)
  if by or num(lost) + 1 >= most_lost then
    retire(job, -1)  -- nobody knows what the device did, and nobody pays
    finish(id, by and 'cancelled' or 'failed', by and cjson.encode({kind = 'cancelled', by = by}) or outcome)
    return by and 'cancelled' or 'failed'
  end
  redis.call('HINCRBY', job_key(id), 'lost', 1)
  redis.call('HINCRBY', job_key(id), 'attempts', -1)  -- a machine that is gone is no try of the job's
  give_back(job)  -- whoever held it may come back: not with this job
  return 'recovered'
end
-- Ended. A bot that died while posting left arq's in-progress mark, which would hide the delivery for many minutes.
local posting = num(redis.call('HGET', job_key(id), 'delivering_until_ms')) > now_ms()
local lined_up = redis.call('ZSCORE', DELIVERIES, 'deliver-' .. id) and redis.call('EXISTS', 'arq:job:deliver-' .. id) == 1
local marked = redis.call('EXISTS', 'arq:in-progress:deliver-' .. id) == 1
if posting or (lined_up and not marked) then return nil end
redis.call('DEL', 'arq:in-progress:deliver-' .. id)
if not lined_up then hand_to_bot(id) end
return 'delivery'
