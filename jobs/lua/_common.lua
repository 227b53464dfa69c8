-- Put before every script, with _fair.lua after it. KEYS are named, never built, except arq's own, whose prefixes are
-- arq's (arq/constants.py). A job is a hash `zoetrope:job:<id>`: `submission` (JSON, never changed) and fields that move.

local OPEN = 'zoetrope:open'                     -- set: ids of jobs that are not closed
local WAITING = 'zoetrope:waiting'               -- hash: id → what a look at the line needs, as JSON (jobs.line.Waiting)
local HELD = 'zoetrope:held'                     -- set: ids of waiting jobs that are paused
local PAUSED = 'zoetrope:paused'                 -- hash: scope (all, guild:<id>, channel:<id>) → who paused it
local RUNNING = 'zoetrope:running'               -- sorted set: id → when its lease runs out
local ENDED = 'zoetrope:ended'                   -- set: ids of jobs whose end the channel has not heard of
local RENDERS = 'zoetrope:renders'               -- arq queue of the workers
local DELIVERIES = 'zoetrope:deliveries'         -- arq queue of the bot
local ARQ_KEY_MS = 90 * 24 * 3600 * 1000         -- arq's own default of a day loses long backlogs
local HOUR_MS, DAY_MS = 3600 * 1000, 24 * 3600 * 1000

local function now_ms()
  local t = redis.call('TIME')
  return tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
end

-- What is no finite number, as an older version may have left it, counts as none.
local function num(text)
  local number = tonumber(text or 0) or 0
  return number - number == 0 and number or 0
end

-- A flow's weight, within the bounds that jobs/terms.py sets: a sum that grows past all numbers would stop the whole line.
local function weight_of(text) return math.min(math.max(num(text or 1), 0.01), 100) end

local function job_key(id) return 'zoetrope:job:' .. id end
local function person_key(id) return 'zoetrope:person:' .. id end
local function spent_key(kind, id) return 'zoetrope:spent:' .. kind .. ':' .. id end

-- A job's fields that never change.
local function facts(id)
  local guild, person, channel, parent, kind, cost, seq =
    unpack(redis.call('HMGET', job_key(id), 'guild', 'person', 'channel', 'parent', 'kind', 'cost', 'seq'))
  return {
    id = id, guild = guild, person = person, channel = channel, parent = parent or '', kind = kind, cost = num(cost), seq = num(seq),
  }
end

-- arq's form of a job: {t: try, f: function, a: positional arguments, k: keyword arguments, et: enqueued at}
local function arq_body(arq_id, func, id)
  local body = string.format('{"t":null,"f":"%s","a":["%s"],"k":{},"et":%d}', func, id, now_ms())
  redis.call('SET', 'arq:job:' .. arq_id, body, 'PX', ARQ_KEY_MS)
end

local function arq_drop(queue, arq_id)
  redis.call('ZREM', queue, arq_id)
  redis.call('DEL', 'arq:job:' .. arq_id, 'arq:retry:' .. arq_id, 'arq:in-progress:' .. arq_id)
end

local function announce(id)
  redis.call('PUBLISH', 'zoetrope:changed', id)
end

local function hand_to_bot(id)
  arq_body('deliver-' .. id, 'deliver', id)
  redis.call('ZADD', DELIVERIES, redis.call('INCR', 'zoetrope:ticket'), 'deliver-' .. id)
end

-- Whether the caller still holds the job: running, under this fencing token.
local function holds(id, fence)
  local state, held = unpack(redis.call('HMGET', job_key(id), 'state', 'fence'))
  return state == 'running' and held == fence
end
