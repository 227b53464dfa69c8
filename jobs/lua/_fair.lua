-- Start-time fair queueing on two levels, as jobs/fair.py says it in plain Python; tests hold the two against each other.
--
--   zoetrope:tags             hash: V virtual time, busy (servers with jobs); of each server t: tag, w: weight, o: people
--                             who take part
--   zoetrope:tags:<guild>     hash: V, open (jobs that wait, are held, or run), held (jobs that a pause holds); of each
--                             person t: tag, w: weight, r: running, m: most that may run (0: any), n: jobs in line,
--                             h: held jobs, o: takes part (0, 1)
--   zoetrope:line:<guild>:<person>:<kind>   sorted set of a person's waiting jobs, by the order of acceptance
--   zoetrope:people:<guild>:<kind>          sorted set of people who take part, by tag
--   zoetrope:guilds:<kind>                  sorted set of servers, by tag
--   zoetrope:kinds:<guild>                  hash: kind → jobs in line
--   zoetrope:heads                          hash: <guild>|<kind> → the job that is next there
--
-- arq's own set holds, for each server and kind, the job that is next, under the server's tag: any arq worker would serve
-- fairly from it. Running jobs stay in it, as arq has it, until they end.

local TAGS, HEADS = 'zoetrope:tags', 'zoetrope:heads'
local LAG_MS, LEAST_TURN_MS, MOST_PASSES, TIES = 600000, 10000, 3, 1048576

local function tags_key(guild) return 'zoetrope:tags:' .. guild end
local function kinds_key(guild) return 'zoetrope:kinds:' .. guild end
local function guilds_key(kind) return 'zoetrope:guilds:' .. kind end
local function people_key(guild, kind) return 'zoetrope:people:' .. guild .. ':' .. kind end
local function line_key(guild, person, kind) return 'zoetrope:line:' .. guild .. ':' .. person .. ':' .. kind end
local function tie(seq) return seq % TIES / TIES end
local function precise(number) return string.format('%.17g', number) end

-- The flows of a job's server and person: read once, changed by the sums below, and written once.
local function read(job)
  local g, p = job.guild, job.person
  local top = redis.call('HMGET', TAGS, 'V', 't:' .. g, 'w:' .. g, 'o:' .. g, 'busy')
  local own = redis.call('HMGET', tags_key(g), 'V', 'open', 'held', 't:' .. p, 'w:' .. p, 'r:' .. p, 'm:' .. p, 'n:' .. p, 'h:' .. p, 'o:' .. p)
  return {
    job = job, time = num(top[1]), busy = num(top[5]),
    guild = {
      tag = num(top[2]), weight = weight_of(top[3]), people = num(top[4]), time = num(own[1]), open = num(own[2]), held = num(own[3]),
    },
    person = {
      tag = num(own[4]), weight = weight_of(own[5]), running = num(own[6]), most = num(own[7]), waiting = num(own[8]), held = num(own[9]),
      ordered = own[10] == '1',
    },
  }
end

-- Stand where a newcomer to a server's people, or to the servers, does.
local function come_new(flows, level)
  local time = level == 'guild' and flows.time or flows.guild.time
  flows[level].tag = math.max(flows[level].tag, time + tie(flows.job.seq))
end

-- Who begins to take part begins at the virtual time, or, where a pause alone kept them from it, where they stood.
local function order(flows, stood)
  local guild, person = flows.guild, flows.person
  local takes_part = person.waiting > 0 and (person.most == 0 or person.running < person.most)
  if takes_part == person.ordered then return end
  person.ordered, flows.moved = takes_part, true
  guild.people = guild.people + (takes_part and 1 or -1)
  if not takes_part or stood then return end
  come_new(flows, 'person')
  if guild.people == 1 then come_new(flows, 'guild') end
end

-- `weights`: those under which the job started, where its flows may have others by now.
local function charge(flows, cost, weights)
  if cost == 0 then return end
  for _, level in ipairs({'guild', 'person'}) do
    flows[level].tag = flows[level].tag + cost / (weights and weights[level] or flows[level].weight)
  end
  flows.moved = true
end

-- A job more that waits or runs, or one less.
local function count_open(flows, change)
  flows.guild.open = flows.guild.open + change
  if change == 1 and flows.guild.open == 1 then flows.busy = flows.busy + 1 end
  if change == -1 and flows.guild.open == 0 then flows.busy = flows.busy - 1 end
end

local function append(flows, stood)
  local job = flows.job
  if redis.call('ZADD', line_key(job.guild, job.person, job.kind), job.seq, job.id) == 1 then
    redis.call('HINCRBY', kinds_key(job.guild), job.kind, 1)
    flows.person.waiting = flows.person.waiting + 1
  end
  order(flows, stood)
end

local function drop(flows)
  local job = flows.job
  if redis.call('ZREM', line_key(job.guild, job.person, job.kind), job.id) == 1 then
    flows.last_of_kind = redis.call('HINCRBY', kinds_key(job.guild), job.kind, -1) <= 0
    flows.person.waiting = flows.person.waiting - 1
  end
end

local function show_head(flows, kind)
  local guild, tag = flows.job.guild, flows.guild.tag
  local field = guild .. '|' .. kind
  local person = redis.call('ZRANGE', people_key(guild, kind), 0, 0)[1]
  local head = person and redis.call('ZRANGE', line_key(guild, person, kind), 0, 0)[1]
  local before = redis.call('HGET', HEADS, field)
  if before and before ~= head and before ~= flows.started then redis.call('ZREM', RENDERS, before) end
  if head then
    if before ~= head then redis.call('HSET', HEADS, field, head) end
    redis.call('ZADD', RENDERS, precise(tag + 1), head)  -- arq takes a score of 0 for none
    redis.call('ZADD', guilds_key(kind), precise(tag), guild)
  elseif before then
    redis.call('HDEL', HEADS, field)
    redis.call('ZREM', guilds_key(kind), guild)
  end
end

-- Put the person, and their server, where their tags belong: under every kind if a tag moved, else under the job's own.
local function show(flows)
  local guild, person = flows.job.guild, flows.job.person
  for _, kind in ipairs(flows.moved and redis.call('HKEYS', kinds_key(guild)) or {flows.job.kind}) do
    if flows.person.ordered and redis.call('EXISTS', line_key(guild, person, kind)) == 1 then
      redis.call('ZADD', people_key(guild, kind), precise(flows.person.tag), person)
    else
      redis.call('ZREM', people_key(guild, kind), person)
    end
    show_head(flows, kind)
  end
  if flows.last_of_kind then redis.call('HDEL', kinds_key(guild), flows.job.kind) end
end

-- A server without jobs forgets who used what; without any server, time begins anew.
local function forget(flows)
  local name = flows.job.guild
  redis.call('DEL', tags_key(name), kinds_key(name))
  redis.call('HDEL', TAGS, 'w:' .. name, 'o:' .. name)
  if flows.busy <= 0 then
    redis.call('DEL', TAGS)
  elseif flows.guild.tag > flows.time then
    redis.call('HSET', TAGS, 'busy', flows.busy, 't:' .. name, precise(flows.guild.tag))
  else
    redis.call('HSET', TAGS, 'busy', flows.busy)
    redis.call('HDEL', TAGS, 't:' .. name)
  end
end

local function write(flows)
  local guild, person = flows.guild, flows.person
  show(flows)
  if guild.open <= 0 then return forget(flows) end
  local g, p = flows.job.guild, flows.job.person
  redis.call('HSET', TAGS, 'V', precise(flows.time), 'busy', flows.busy, 't:' .. g, precise(guild.tag), 'w:' .. g, precise(guild.weight), 'o:' .. g, guild.people)
  redis.call('HSET', tags_key(g), 'V', precise(guild.time), 'open', guild.open, 'held', guild.held,
    't:' .. p, precise(person.tag), 'w:' .. p, precise(person.weight), 'r:' .. p, person.running, 'm:' .. p, person.most,
    'n:' .. p, person.waiting, 'h:' .. p, person.held, 'o:' .. p, person.ordered and 1 or 0)
end

local function note_waiting(job, held)
  redis.call('HSET', WAITING, job.id, cjson.encode({job.guild, job.person, job.channel, job.kind, job.cost, job.seq, held, job.parent}))
end

-- Where arq finds it. The mark of a worker that died would hide it: away with it.
local function for_arq(job)
  redis.call('DEL', 'arq:in-progress:' .. job.id)
  arq_body(job.id, 'render', job.id)
end

-- A job that a pause holds is in no line, yet its server and its person go on standing where they stand.
local function set_aside(flows)
  flows.guild.held, flows.person.held = flows.guild.held + 1, flows.person.held + 1
  redis.call('SADD', HELD, flows.job.id)
  redis.call('HSET', job_key(flows.job.id), 'place_kept', 1)
  note_waiting(flows.job, 1)
end

local function fetch_back(flows)
  redis.call('SREM', HELD, flows.job.id)
  if redis.call('HDEL', job_key(flows.job.id), 'place_kept') == 1 then
    flows.guild.held, flows.person.held = flows.guild.held - 1, flows.person.held - 1
  else
    count_open(flows, 1)  -- an older version set it aside, for which it was as good as gone
  end
end

local function paused(job)
  local scopes = {'all', 'guild:' .. job.guild, 'channel:' .. job.channel}
  if job.parent ~= '' then scopes[4] = 'channel:' .. job.parent end  -- a thread is as its channel
  for _, by in ipairs(redis.call('HMGET', PAUSED, unpack(scopes))) do
    if by then return true end
  end
  return false
end

-- Into the line for the first time, or held at the place that it would have there.
local function admit(job, weight, guild_weight, most)
  local flows = read(job)
  local guild, person = flows.guild, flows.person
  person.weight, person.most, guild.weight = weight_of(weight), num(most), weight_of(guild_weight)
  count_open(flows, 1)
  if paused(job) then
    if not person.ordered and person.held == 0 then come_new(flows, 'person') end
    if guild.people == 0 and guild.held == 0 then come_new(flows, 'guild') end
    set_aside(flows)
  else
    append(flows)
    note_waiting(job, 0)
  end
  write(flows)
  for_arq(job)
end

local function hold(job)
  local flows = read(job)
  drop(flows)
  order(flows)
  set_aside(flows)
  write(flows)
  announce(job.id)
end

-- After a pause, to the place that it had.
local function let_go(job)
  local flows = read(job)
  fetch_back(flows)
  append(flows, true)
  write(flows)
  for_arq(job)
  note_waiting(job, 0)
  announce(job.id)
end

-- The turn that a job has had in tries that came to nothing, leaving out `now` of them; at least as estimated.
local function turn_before(job, now)
  local attempts, lost, told = unpack(redis.call('HMGET', job_key(job.id), 'attempts', 'lost', 'tried_ms'))
  return num(attempts) + num(lost) > now and math.max(num(told), job.cost) or 0
end

-- Out of the line for good. It costs nothing but a turn for tries that it has had.
local function leave_line(job)
  local flows = read(job)
  if redis.call('SISMEMBER', HELD, job.id) == 1 then fetch_back(flows) else drop(flows) end
  charge(flows, turn_before(job, 0))
  count_open(flows, -1)
  order(flows)
  write(flows)
  redis.call('HDEL', WAITING, job.id)
end

-- From waiting to running. Virtual time moves to the tags whose turn it was, even where another job was let pass; nil: to
-- the job's own. → new fencing token
local function start(job, worker, lease_ms, turn, turn_within)
  local flows, now = read(job), now_ms()
  local guild, person = flows.guild, flows.person
  flows.time = math.max(flows.time, turn or guild.tag)
  guild.time = math.max(guild.time, turn_within or person.tag)
  guild.tag = math.max(guild.tag, flows.time - LAG_MS)
  person.tag = math.max(person.tag, guild.time - LAG_MS)
  person.running = person.running + 1
  flows.started = job.id  -- it stays in arq's set
  drop(flows)
  order(flows)
  charge(flows, job.cost)
  write(flows)
  redis.call('HDEL', WAITING, job.id)
  redis.call('HINCRBY', job_key(job.id), 'attempts', 1)
  redis.call('HSET', job_key(job.id), 'state', 'running', 'worker', worker, 'lease_until_ms', now + lease_ms, 'started_ms', now, 'passes', 0,
    'turn_weight', precise(person.weight), 'turn_guild_weight', precise(guild.weight))
  redis.call('ZADD', RUNNING, now + lease_ms, job.id)
  announce(job.id)
  return redis.call('HINCRBY', job_key(job.id), 'fence', 1)
end

-- A started job is in nobody's hands any more, and has had a turn of `turn` GPU milliseconds.
local function stop(flows, turn)
  local key = job_key(flows.job.id)
  local weight, guild_weight = unpack(redis.call('HMGET', key, 'turn_weight', 'turn_guild_weight'))
  redis.call('ZREM', RUNNING, flows.job.id)
  redis.call('HDEL', key, 'worker', 'lease_until_ms', 'progress')
  flows.person.running = flows.person.running - 1
  charge(flows, turn - flows.job.cost, weight and {guild = weight_of(guild_weight), person = weight_of(weight)})
end

-- Somebody pays: for their clip, for what they stopped, or for what their own request could not do. Of what made no clip,
-- tries before it that ended their renderer count too.
local function bill(job, used, made)
  local cost = (used < 0 and job.cost or used) + (made and 0 or num(redis.call('HGET', job_key(job.id), 'tried_ms')))
  if cost <= 0 then return end
  local now, person, guild = now_ms(), spent_key('person', job.person), spent_key('guild', job.guild)
  redis.call('ZADD', person, now, job.id .. ' ' .. cost)
  redis.call('ZREMRANGEBYSCORE', person, 0, now - DAY_MS)
  redis.call('PEXPIRE', person, DAY_MS)
  redis.call('ZADD', guild, now, job.person .. ' ' .. job.id .. ' ' .. cost)
  redis.call('ZREMRANGEBYSCORE', guild, 0, now - HOUR_MS)
  redis.call('PEXPIRE', guild, HOUR_MS)
end

-- A started job is over; the device worked on it for `used` GPU milliseconds (-1: as estimated). Where there is no clip, its
-- turn counts as a short one at least, and what it gives back lets its flows stand behind those who are new and no further
-- ahead: whoever fails or stops again and again would else go before everybody.
local function retire(job, used, made)
  local flows = read(job)
  local stood = {guild = flows.guild.tag, person = flows.person.tag}
  local turn = used < 0 and job.cost or used
  if made then
    stop(flows, turn)
  else
    stop(flows, math.max(turn + turn_before(job, 1), math.min(job.cost, LEAST_TURN_MS)))
    for level, tag in pairs(stood) do
      local time = level == 'guild' and flows.time or flows.guild.time
      flows[level].tag = math.max(flows[level].tag, math.min(tag, time + 1))
    end
  end
  count_open(flows, -1)
  order(flows)
  write(flows)
end

-- A started job goes back to its own place, as if it had never started. Its old attempt's word counts no more.
local function give_back(job)
  local flows = read(job)
  stop(flows, 0)
  append(flows)
  write(flows)
  redis.call('HINCRBY', job_key(job.id), 'fence', 1)
  redis.call('HSET', job_key(job.id), 'state', 'waiting')
  for_arq(job)
  note_waiting(job, 0)
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
