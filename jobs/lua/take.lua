-- after: _common _fair
-- ARGV: worker, lease in ms, slack in ms of virtual time, how many kinds it can do, those kinds, then kinds whose models it
-- holds. → {id, fencing token, record} of the job that starts here now, or nil
local worker, lease_ms, slack, count = ARGV[1], num(ARGV[2]), num(ARGV[3]), num(ARGV[4])
local warm = {}
for i = 5 + count, #ARGV do warm[ARGV[i]] = true end

local any_paused = redis.call('EXISTS', PAUSED) == 1

local function first(kind)
  while true do
    local guild, guild_tag = unpack(redis.call('ZRANGE', guilds_key(kind), 0, 0, 'WITHSCORES'))
    if not guild then return nil end
    local person, tag = unpack(redis.call('ZRANGE', people_key(guild, kind), 0, 0, 'WITHSCORES'))
    local id, seq = unpack(redis.call('ZRANGE', line_key(guild, person, kind), 0, 0, 'WITHSCORES'))
    if not any_paused or not paused(facts(id)) then
      local job = {id = id, guild = guild, person = person, kind = kind}
      return {guild_tag = num(guild_tag), tag = num(tag), seq = num(seq), job = job}
    end
    hold(facts(id))
  end
end

local function before(a, b)
  if a.guild_tag ~= b.guild_tag then return a.guild_tag < b.guild_tag end
  if a.tag ~= b.tag then return a.tag < b.tag end
  return a.seq < b.seq
end

local choices = {}
for i = 5, 4 + count do
  local choice = first(ARGV[i])
  if choice then choices[#choices + 1] = choice end
end
if #choices == 0 then return nil end
table.sort(choices, before)

local function least_tag(of)
  local least = of.tag
  for _, choice in ipairs(choices) do
    if choice.job.guild == of.job.guild then least = math.min(least, choice.tag) end
  end
  return least
end

local function passing(head)
  if num(redis.call('HGET', job_key(head.job.id), 'passes')) >= MOST_PASSES then return head end
  for i = 2, #choices do
    local choice = choices[i]
    local another = choice.job.guild ~= head.job.guild or choice.job.person ~= head.job.person
    if warm[choice.job.kind] and another and choice.guild_tag <= head.guild_tag + slack and choice.tag <= least_tag(choice) + slack then
      redis.call('HINCRBY', job_key(head.job.id), 'passes', 1)
      return choice
    end
  end
  return head
end

local head = choices[1]
local chosen = warm[head.job.kind] and head or passing(head)
redis.call('SET', 'arq:in-progress:' .. chosen.job.id, 1, 'PX', lease_ms)  -- a worker of arq's own leaves it alone
local fence = start(facts(chosen.job.id), worker, lease_ms, head.guild_tag, least_tag(chosen))
return {chosen.job.id, fence, redis.call('HGETALL', job_key(chosen.job.id))}
