-- In front of every script. KEYS[1] is the partition's meta hash; all other keys of the partition derive from it, so
-- all of them lie in its hash slot. Bodies and metadata are opaque bytes and never parsed. Everything that can fail is
-- looked at before the first write, because what a script has written stays written.
local call = redis.call
local META = KEYS[1]
local BASE = string.sub(META, 1, -2)
local INDEX, EXPIRY, SIZES, ENTRY = BASE .. 'k', BASE .. 'x', BASE .. 's', BASE .. 'e:'
local HEADER, HEADER_SIZE = '>BI8I8I8I8I2', 35
local clock = call('TIME')
local now = clock[1] * 1000000 + clock[2]

-- While a slot moves, neither node has all of it: one lets no script touch what has left it, in the middle if need be, and
-- for the other what has not come is not there. Both show by refusing two keys at once that nobody has.
if #KEYS > 1 and redis.pcall('MGET', BASE .. '-', BASE .. '--').err then
  return redis.error_reply('TRYAGAIN the slot is on its way to another node')
end

local grown = 0 -- bytes of all bodies, those expired and still in the index included

-- What lies in an entry's place, or the beginning of it; of a key that is no string, as of others, what no header begins with.
local NO_STRING = '\0'
local function read_of(...)
  local value = redis.pcall(...)
  if not value or not value.err then return value end
  return string.find(value.err, 'WRONGTYPE', 1, true) and NO_STRING or call(...)
end
local function content(key) return read_of('GET', ENTRY .. key) end
local function beginning(key) return read_of('GETRANGE', ENTRY .. key, 0, HEADER_SIZE - 1) end

-- The header of a living entry, or nil. What agentmem did not write has version 0 and no size (`unpack` in layout.py).
local LARGEST = 9007199254740991 -- versions and times in microseconds are below 2^53, which a double holds exactly
local function head(key)
  local text = beginning(key)
  if text == '' then return nil end
  if #text == HEADER_SIZE then
    local format, version, created, updated, expires, metadata = struct.unpack(HEADER, text)
    if format == 1 and math.max(version, created, updated, expires) <= LARGEST then
      if expires > 0 and expires <= now then return nil end
      return {version = version, created = created, updated = updated, expires = expires, metadata = metadata}
    end
  end
  return {version = 0, created = now, updated = now, expires = 0, metadata = 0}
end

local function body_size(key, h)
  if h.version == 0 then return 0 end
  return math.max(0, call('STRLEN', ENTRY .. key) - HEADER_SIZE - h.metadata)
end

-- From when on Redis lets nobody see the entry: it is dead when the clock, in milliseconds, is past this.
local function last_millisecond(expires)
  return string.format('%.0f', expires / 1000 - 1)
end

-- In microseconds; up to a whole millisecond, which is the finest that Redis knows.
local function expiry_in(milliseconds)
  return math.ceil(now / 1000 + milliseconds) * 1000
end

-- Versions that the clock has not passed are remembered when their entries go: they could be given again. Those ahead of
-- it are remembered at once, because nobody is there when an entry expires.
local floor = 0
local function remember(version)
  if version >= now and version > floor then
    floor = version
    call('HSET', META, 'floor', string.format('%.0f', version))
  end
end

local function next_version(h)
  return math.max(now, floor + 1, h and h.version + 1 or 0)
end

-- Takes an entry out of the store and of every book.
local function drop(key, h)
  local size
  if call('ZREM', EXPIRY, key) == 1 then
    size = tonumber(call('HGET', SIZES, key) or 0)
    call('HDEL', SIZES, key)
  else
    size = h and body_size(key, h) or 0
  end
  call('UNLINK', ENTRY .. key)
  call('ZREM', INDEX, key)
  grown = grown - size
end

-- Clears what has expired out of the books, oldest first; up to `limit` entries.
local function sweep(limit)
  local dead = call('ZRANGEBYSCORE', EXPIRY, '-inf', math.floor(now / 1000), 'LIMIT', 0, limit)
  for _, key in ipairs(dead) do drop(key, nil) end
  return #dead
end

-- Stores an entry; `h` is the header of the living one that stands there.
local function store(key, h, body, metadata, version, created, expires)
  local before, listed = 0, h and h.expires > 0
  if h then
    before = body_size(key, h)
  elseif call('ZADD', INDEX, 0, key) == 0 then -- one that expired and was not cleared yet
    before, listed = tonumber(call('HGET', SIZES, key) or 0), true
  end
  local value = struct.pack(HEADER, 1, version, created, now, expires, #metadata) .. metadata .. body
  if expires > 0 then
    call('SET', ENTRY .. key, value, 'PXAT', last_millisecond(expires))
    call('ZADD', EXPIRY, expires / 1000, key)
    call('HSET', SIZES, key, #body)
  else
    call('SET', ENTRY .. key, value)
    if listed then
      call('ZREM', EXPIRY, key)
      call('HDEL', SIZES, key)
    end
  end
  grown = grown + #body - before
  if version > now then remember(version) end
end

local function settle()
  if grown == 0 then return end
  if grown < 0 and call('EXISTS', INDEX) == 0 then
    call('HDEL', META, 'bytes') -- whatever foreign hands or an eviction took before is forgotten with the rest
  else
    call('HINCRBY', META, 'bytes', grown)
  end
end

-- The partition's policy; nil where there is no such partition and none shall be made.
local function policy(create)
  local fields = call('HMGET', META, 'created', 'ttl', 'namespace', 'floor')
  if not fields[1] then
    if create ~= '1' then return nil end
    call('HSET', META, 'created', string.format('%.0f', now))
  end
  floor = tonumber(fields[4] or 0)
  return {ttl = tonumber(fields[2] or 0), namespace = fields[3]}
end

local function allowed(p, key)
  return not p.namespace or string.sub(key, 1, #p.namespace) == p.namespace
end

-- What a TTL argument means: -1 the partition's default, 0 never, else milliseconds.
local function expiry_of(ttl, p)
  if ttl == -1 then ttl = p.ttl end
  return ttl == 0 and 0 or expiry_in(ttl)
end

-- What an answer begins with: above 0 where something was written, which replicas are waited for.
local UNCHANGED, NO_PARTITION, REFUSED, CONFLICT, DONE = -5, -1, -2, 0, 1
