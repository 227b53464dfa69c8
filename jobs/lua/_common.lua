-- Put before every script. KEYS are named, never built, except arq's own, whose prefixes are arq's (arq/constants.py).
-- A job is a hash `zoetrope:job:<id>`: `submission` (JSON, never changed) and the fields that move.

local OPEN = 'zoetrope:open'                     -- set: ids of jobs that are not closed
local RENDERS = 'zoetrope:renders'               -- arq queue of the workers
local DELIVERIES = 'zoetrope:deliveries'         -- arq queue of the bot
local ARQ_KEY_MS = 90 * 24 * 3600 * 1000         -- arq's own default of a day loses long backlogs
local MARK_MS = 5000                             -- so long arq's in-progress mark may stand without a claim

local function now_ms()
  local t = redis.call('TIME')
  return tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
end

local function job_key(id) return 'zoetrope:job:' .. id end
local function person_key(id) return 'zoetrope:person:' .. id end

-- arq's form of a job: {t: try, f: function, a: positional arguments, k: keyword arguments, et: enqueued at}
local function arq_put(queue, arq_id, func, id, score)
  local body = string.format('{"t":null,"f":"%s","a":["%s"],"k":{},"et":%d}', func, id, now_ms())
  redis.call('SET', 'arq:job:' .. arq_id, body, 'PX', ARQ_KEY_MS)
  redis.call('ZADD', queue, score, arq_id)
end

local function arq_drop(queue, arq_id)
  redis.call('ZREM', queue, arq_id)
  redis.call('DEL', 'arq:job:' .. arq_id, 'arq:retry:' .. arq_id, 'arq:in-progress:' .. arq_id)
end

local function announce(id)
  redis.call('PUBLISH', 'zoetrope:changed', id)
end

-- Put the job (back) into the line at its own place. A dead worker's in-progress mark would hide it: away with it.
local function line_up(id)
  redis.call('DEL', 'arq:in-progress:' .. id)
  arq_put(RENDERS, id, 'render', id, redis.call('HGET', job_key(id), 'score'))
end

local function hand_to_bot(id)
  arq_put(DELIVERIES, 'deliver-' .. id, 'deliver', id, redis.call('INCR', 'zoetrope:ticket'))
end

-- The one way a job ends: outcome and delivery in the same instant.
-- arq's own keys go too: a worker that dies before arq tidies up would leave a ghost in the line.
local function finish(id, state, outcome)
  arq_drop(RENDERS, id)
  redis.call('HSET', job_key(id), 'state', state, 'outcome', outcome, 'ended_ms', now_ms())
  redis.call('HDEL', job_key(id), 'worker', 'lease_until_ms', 'progress')
  hand_to_bot(id)
  announce(id)
end

-- Whether the caller still holds the job: running, under this fencing token.
local function holds(id, fence)
  local state, held = unpack(redis.call('HMGET', job_key(id), 'state', 'fence'))
  return state == 'running' and held == fence
end
