-- after: _common
-- KEYS: rules (a hash), audit (a list). ARGV: the change as JSON, most entries, days in ms,
-- then name, value ('' takes the setting away) and what must stand there now ('*' anything) for each setting.
-- → the change as JSON with old and new values, '' where nothing is another, nil where another came in between
local rules, audit = KEYS[1], KEYS[2]
local change, most, keep_ms = cjson.decode(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
change.changes = {}
for at = 4, #ARGV, 3 do
  local name, value, expected = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local old = redis.call('HGET', rules, name) or ''
  if expected ~= '*' and expected ~= old then return nil end
  if old ~= value then table.insert(change.changes, {name, old, value}) end
end
if #change.changes == 0 then return '' end
for _, each in ipairs(change.changes) do
  if each[3] == '' then redis.call('HDEL', rules, each[1]) else redis.call('HSET', rules, each[1], each[3]) end
end
local document = cjson.encode(change)  -- every value in it is text: numbers would lose digits here
redis.call('LPUSH', audit, document)
redis.call('LTRIM', audit, 0, most - 1)
redis.call('PEXPIRE', audit, keep_ms)
return document
