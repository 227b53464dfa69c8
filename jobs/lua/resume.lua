-- after: _common _fair
-- ARGV: scope. Held jobs that nothing else holds go back to their places. → how many, or -1 where it was not paused
if redis.call('HDEL', PAUSED, ARGV[1]) == 0 then return -1 end
local freed = 0
for _, id in ipairs(redis.call('SMEMBERS', HELD)) do
  local job = facts(id)
  if not paused(job) then
    let_go(job)
    freed = freed + 1
  end
end
return freed
