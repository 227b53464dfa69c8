-- after: _common _media
-- ARGV: person, ids of jobs that they will not ask for after all (none: all). What they brought for jobs that were accepted
-- stays with those. → digests that may be swept at once
local person, wanted = ARGV[1], {}
for i = 2, #ARGV do wanted[ARGV[i]] = true end
local orphans = {}
for _, member in ipairs(redis.call('ZRANGE', brought_key(person), 0, -1)) do
  local id, digest = member:match('^(%S+) (%S+)$')
  if #ARGV == 1 or wanted[id] then
    if redis.call('EXISTS', job_key(id)) == 0 then
      if let_go(digest, id) then table.insert(orphans, digest) end
      forget_traces(id)
    end
    redis.call('ZREM', brought_key(person), member)
  end
end
return orphans
