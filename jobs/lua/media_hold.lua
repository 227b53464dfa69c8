-- after: _common _media
-- ARGV: id of a job that is about to be accepted or settled, ms to hold, the person who brings them or '', digests.
-- → 1, or 0 where one is being swept right now: ask again in a moment, and only then write it
local id, held_ms, person = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local answer = 1
for i = 4, #ARGV do
  local refs, held_until = refs_key(ARGV[i]), now_ms() + held_ms
  if redis.call('EXISTS', sweeping_key(ARGV[i])) == 1 then
    answer = 0
  elseif (tonumber(redis.call('ZSCORE', refs, id) or 0)) <= held_until then
    use(ARGV[i], id, held_until)
    if person ~= '' then brought(person, id, ARGV[i]) end
  end
end
return answer
