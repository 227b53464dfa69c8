-- Motions that were learned, by owner (`jobs/motions.py`). Put after _common.lua and _media.lua. A motion uses its file as
-- a job does, for a year from when its owner last used any: so long lives the owner's hash, too.

local MOTION_SECONDS = 365 * 24 * 3600

local function motions_key(owner) return 'zoetrope:motions:' .. owner end                 -- hash: name as spelled → JSON
local function shared_key(person) return 'zoetrope:motions:shared:' .. person end         -- set: servers they gave one to
local function motion_user(owner, name) return 'motion:' .. owner .. ':' .. name end      -- where else a job's id stands

local function digest_of(document) return cjson.decode(document).digest end

-- All of an owner's stay so many seconds from now on: files for as long as the names.
local function renew_motions(owner)
  local documents = redis.call('HGETALL', motions_key(owner))
  for i = 1, #documents, 2 do
    use(digest_of(documents[i + 1]), motion_user(owner, documents[i]), now_ms() + MOTION_SECONDS * 1000)
  end
  redis.call('EXPIRE', motions_key(owner), MOTION_SECONDS)
end

-- Keep one, instead of another of this name.
local function put_motion(owner, name, document)
  local before = redis.call('HGET', motions_key(owner), name)
  if before and digest_of(before) ~= digest_of(document) then let_go(digest_of(before), motion_user(owner, name)) end
  redis.call('HSET', motions_key(owner), name, document)
  renew_motions(owner)
end

-- Take one away. → its digest where nobody else uses the file, so that it may be swept at once
local function drop_motion(owner, name)
  local document = redis.call('HGET', motions_key(owner), name)
  if not document then return nil end
  redis.call('HDEL', motions_key(owner), name)
  return let_go(digest_of(document), motion_user(owner, name)) and digest_of(document) or nil
end
