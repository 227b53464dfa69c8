-- after: _common _media _motions
-- ARGV: person who wants to be forgotten: their motions go, and those that they gave to servers. → digests to be swept at once
local person, orphans = ARGV[1], {}
local owners = redis.call('SMEMBERS', shared_key(person))
table.insert(owners, 'person:' .. person)
for _, owner in ipairs(owners) do
  local documents = redis.call('HGETALL', motions_key(owner))
  for i = 1, #documents, 2 do
    if owner == 'person:' .. person or cjson.decode(documents[i + 1]).by == person then
      table.insert(orphans, drop_motion(owner, documents[i]))
    end
  end
end
redis.call('DEL', shared_key(person))
return orphans
