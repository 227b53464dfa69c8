-- Start-time fair queueing on two levels, as jobs/fair.py says it in plain Python; tests hold the two against each other.
--
--   zoetrope:tags             hash: V virtual time, busy (servers with jobs); of each server t: tag, w: weight, o: people
--                             who take part
--   zoetrope:tags:<guild>     hash: V, open (jobs that wait or run); of each person t: tag, w: weight, r: running,
--                             m: most that may run (0: any), n: jobs in line, o: takes part
--   zoetrope:line:<guild>:<person>:<kind>   sorted set of a person's waiting jobs, by the order of acceptance
--   zoetrope:people:<guild>:<kind>          sorted set of people who take part, by tag
--   zoetrope:guilds:<kind>                  sorted set of servers, by tag
--   zoetrope:kinds:<guild>                  hash: kind → jobs in line
--   zoetrope:heads                          hash: <guild>|<kind> → the job that is next there
--
-- arq's own set holds, for each server and kind, the job that is next, under the server's tag: any arq worker would serve
-- fairly from it. Running jobs stay in it, as arq has it, until they end.

local TAGS, HEADS = 'zoetrope:tags', 'zoetrope:heads'
local LAG_MS, MOST_PASSES, TIES = 600000, 3, 1048576

local function tags_key(guild) return 'zoetrope:tags:' .. guild end
local function kinds_key(guild) return 'zoetrope:kinds:' .. guild end
local function guilds_key(kind) return 'zoetrope:guilds:' .. kind end
local function people_key(guild, kind) return 'zoetrope:people:' .. guild .. ':' .. kind end
local function line_key(guild, person, kind) return 'zoetrope:line:' .. guild .. ':' .. person .. ':' .. kind end
local function tie(seq) return seq % TIES / TIES end
local function precise(number) return string.format('%.17g', number) end

local function set_tag(key, name, tag) redis.call('HSET', key, 't:' .. name, precise(tag)) end
local function tag_of(key, name) return num(redis.call('HGET', key, 't:' .. name)) end

-- Who begins to take part begins at the virtual time.
local function order(guild, person, seq)
  local key = tags_key(guild)
  local waiting, running, most, ordered = unpack(redis.call('HMGET', key, 'n:' .. person, 'r:' .. person, 'm:' .. person, 'o:' .. person))
  local takes_part = num(waiting) > 0 and (num(most) == 0 or num(running) < num(most))
  if takes_part and not ordered then
    redis.call('HSET', key, 'o:' .. person, 1)
    set_tag(key, person, math.max(tag_of(key, person), num(redis.call('HGET', key, 'V')) + tie(seq)))
    if redis.call('HINCRBY', TAGS, 'o:' .. guild, 1) == 1 then
      set_tag(TAGS, guild, math.max(tag_of(TAGS, guild), num(redis.call('HGET', TAGS, 'V')) + tie(seq)))
    end
  elseif ordered and not takes_part then
    redis.call('HDEL', key, 'o:' .. person)
    redis.call('HINCRBY', TAGS, 'o:' .. guild, -1)
  end
end

local function show_person(guild, person)
  local tag, ordered = unpack(redis.call('HMGET', tags_key(guild), 't:' .. person, 'o:' .. person))
  for _, kind in ipairs(redis.call('HKEYS', kinds_key(guild))) do
    if ordered and redis.call('EXISTS', line_key(guild, person, kind)) == 1 then
      redis.call('ZADD', people_key(guild, kind), tag, person)
    else
      redis.call('ZREM', people_key(guild, kind), person)
    end
  end
end

local function show_head(guild, kind, tag)
  local field = guild .. '|' .. kind
  local person = redis.call('ZRANGE', people_key(guild, kind), 0, 0)[1]
  local head = person and redis.call('ZRANGE', line_key(guild, person, kind), 0, 0)[1]
  local before = redis.call('HGET', HEADS, field)
  if before and before ~= head then
    redis.call('ZREM', RENDERS, before)
    redis.call('HDEL', HEADS, field)
  end
  if head then
    redis.call('HSET', HEADS, field, head)
    redis.call('ZADD', RENDERS, precise(tag + 1), head)  -- arq takes a score of 0 for none
    redis.call('ZADD', guilds_key(kind), precise(tag), guild)
  else
    redis.call('ZREM', guilds_key(kind), guild)
  end
end

-- Put a person, and their server, where their tags belong.
local function show(guild, person)
  show_person(guild, person)
  local tag = tag_of(TAGS, guild)
  local kinds = redis.call('HGETALL', kinds_key(guild))
  for i = 1, #kinds, 2 do
    show_head(guild, kinds[i], tag)
    if num(kinds[i + 1]) <= 0 then redis.call('HDEL', kinds_key(guild), kinds[i]) end
  end
end

local function charge(guild, person, cost)
  local weight = num(redis.call('HGET', TAGS, 'w:' .. guild) or 1)
  set_tag(TAGS, guild, tag_of(TAGS, guild) + cost / weight)
  weight = num(redis.call('HGET', tags_key(guild), 'w:' .. person) or 1)
  set_tag(tags_key(guild), person, tag_of(tags_key(guild), person) + cost / weight)
end

-- A job more that waits or runs, or one less. A server without any forgets who used what; without any server, time begins
-- anew.
local function count_open(guild, change)
  local open = redis.call('HINCRBY', tags_key(guild), 'open', change)
  if open == 1 and change == 1 then redis.call('HINCRBY', TAGS, 'busy', 1) end
  if open > 0 then return end
  redis.call('DEL', tags_key(guild), kinds_key(guild))
  redis.call('HDEL', TAGS, 'w:' .. guild, 'o:' .. guild)
  if tag_of(TAGS, guild) <= num(redis.call('HGET', TAGS, 'V')) then redis.call('HDEL', TAGS, 't:' .. guild) end
  if redis.call('HINCRBY', TAGS, 'busy', -1) <= 0 then redis.call('DEL', TAGS) end
end

local function append(job)
  if redis.call('ZADD', line_key(job.guild, job.person, job.kind), job.seq, job.id) == 1 then
    redis.call('HINCRBY', kinds_key(job.guild), job.kind, 1)
    redis.call('HINCRBY', tags_key(job.guild), 'n:' .. job.person, 1)
  end
  order(job.guild, job.person, job.seq)
  show(job.guild, job.person)
end

-- Out of its line. The entry in arq's set stays: what starts must be found there.
local function drop(job)
  if redis.call('ZREM', line_key(job.guild, job.person, job.kind), job.id) == 0 then return end
  redis.call('HINCRBY', kinds_key(job.guild), job.kind, -1)
  redis.call('HINCRBY', tags_key(job.guild), 'n:' .. job.person, -1)
  local field = job.guild .. '|' .. job.kind
  if redis.call('HGET', HEADS, field) == job.id then redis.call('HDEL', HEADS, field) end
end

local function note_waiting(job, held)
  redis.call('HSET', WAITING, job.id, cjson.encode({job.guild, job.person, job.channel, job.kind, job.cost, job.seq, held}))
end

-- Into the line at its own place. arq's mark of a worker that died would hide it: away with it.
local function line_up(job)
  redis.call('DEL', 'arq:in-progress:' .. job.id)
  arq_body(job.id, 'render', job.id)
  note_waiting(job, 0)
  append(job)
end

-- A job that was not counted as open comes into the line, on the terms on which it was accepted.
local function admit(job)
  local weight, guild_weight, most = unpack(redis.call('HMGET', job_key(job.id), 'weight', 'guild_weight', 'most_running'))
  count_open(job.guild, 1)
  redis.call('HSET', TAGS, 'w:' .. job.guild, guild_weight)
  redis.call('HSET', tags_key(job.guild), 'w:' .. job.person, weight, 'm:' .. job.person, most)
  line_up(job)
end

-- Out of the line for good or for a while.
local function leave_line(job)
  redis.call('HDEL', WAITING, job.id)
  if redis.call('SREM', HELD, job.id) == 1 then return end
  drop(job)
  redis.call('ZREM', RENDERS, job.id)
  order(job.guild, job.person, job.seq)
  show(job.guild, job.person)
  count_open(job.guild, -1)
end

local function paused(job)
  for _, scope in ipairs(redis.call('HMGET', PAUSED, 'all', 'guild:' .. job.guild, 'channel:' .. job.channel)) do
    if scope then return true end
  end
  return false
end

local function hold(job)
  leave_line(job)
  redis.call('SADD', HELD, job.id)
  note_waiting(job, 1)
  announce(job.id)
end

-- From waiting to running. `turn` and `turn_within`: tags of the server and the person whose turn it is, to which virtual
-- time moves, even where another job was let pass. → new fencing token
local function start(job, worker, lease_ms, turn, turn_within)
  local key, now = tags_key(job.guild), now_ms()
  turn = math.max(turn, num(redis.call('HGET', TAGS, 'V')))
  turn_within = math.max(turn_within, num(redis.call('HGET', key, 'V')))
  redis.call('HSET', TAGS, 'V', precise(turn))
  redis.call('HSET', key, 'V', precise(turn_within))
  set_tag(TAGS, job.guild, math.max(tag_of(TAGS, job.guild), turn - LAG_MS))
  set_tag(key, job.person, math.max(tag_of(key, job.person), turn_within - LAG_MS))
  redis.call('HINCRBY', key, 'r:' .. job.person, 1)
  redis.call('HDEL', WAITING, job.id)
  drop(job)
  order(job.guild, job.person, job.seq)
  charge(job.guild, job.person, job.cost)
  show(job.guild, job.person)
  redis.call('HDEL', job_key(job.id), 'passes')
  redis.call('HINCRBY', job_key(job.id), 'attempts', 1)
  redis.call('HSET', job_key(job.id), 'state', 'running', 'worker', worker, 'lease_until_ms', now + lease_ms, 'started_ms', now)
  redis.call('ZADD', RUNNING, now + lease_ms, job.id)
  announce(job.id)
  return redis.call('HINCRBY', job_key(job.id), 'fence', 1)
end

-- A started job is in nobody's hands any more, and has cost `cost` GPU milliseconds.
local function stop(job, cost)
  redis.call('ZREM', RUNNING, job.id)
  redis.call('HDEL', job_key(job.id), 'worker', 'lease_until_ms', 'progress')
  redis.call('HINCRBY', tags_key(job.guild), 'r:' .. job.person, -1)
  if cost ~= job.cost then charge(job.guild, job.person, cost - job.cost) end
  if cost > 0 then
    local now, person, guild = now_ms(), spent_key('person', job.person), spent_key('guild', job.guild)
    redis.call('ZADD', person, now, job.id .. ' ' .. cost)
    redis.call('ZREMRANGEBYSCORE', person, 0, now - DAY_MS)
    redis.call('PEXPIRE', person, DAY_MS)
    redis.call('ZADD', guild, now, job.person .. ' ' .. job.id .. ' ' .. cost)
    redis.call('ZREMRANGEBYSCORE', guild, 0, now - HOUR_MS)
    redis.call('PEXPIRE', guild, HOUR_MS)
  end
end

-- A started job is over.
local function retire(job, cost)
  stop(job, cost)
  order(job.guild, job.person, job.seq)
  show(job.guild, job.person)
  count_open(job.guild, -1)
end

-- A started job goes back to its own place, as if it had never started. Its old attempt's word counts no more.
local function give_back(job)
  stop(job, 0)
  redis.call('HINCRBY', job_key(job.id), 'fence', 1)
  redis.call('HSET', job_key(job.id), 'state', 'waiting')
  line_up(job)
  announce(job.id)
end

-- The one way a job ends: outcome and delivery in the same instant.
-- arq's own keys go too: a worker that dies before arq tidies up would leave a ghost in the line.
local function finish(id, state, outcome)
  arq_drop(RENDERS, id)
  redis.call('HSET', job_key(id), 'state', state, 'outcome', outcome, 'ended_ms', now_ms())
  redis.call('SADD', ENDED, id)
  hand_to_bot(id)
  announce(id)
end
