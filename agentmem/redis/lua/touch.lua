-- ARGV: create, key, ttl. The body stays where it is: only the header is written.
local p = policy(ARGV[1])
if not p then return {NO_PARTITION} end
local key = ARGV[2]
local h = head(key)
if not h then return {DONE, 0} end
local version, expires = next_version(h), expiry_of(tonumber(ARGV[3]), p)
local name = ENTRY .. key
call('SETRANGE', name, 0, struct.pack(HEADER, 1, version, h.created, now, expires, h.metadata))
if expires > 0 then
  call('ZADD', EXPIRY, expires / 1000, key)
  call('HSET', SIZES, key, body_size(key, h))
elseif h.expires > 0 then
  call('PERSIST', name)
  call('ZREM', EXPIRY, key)
  call('HDEL', SIZES, key)
end
if version > now then remember(version) end
local value = call('GET', name)
if expires > 0 then call('PEXPIREAT', name, last_millisecond(expires)) end
return {DONE, 1, value}
