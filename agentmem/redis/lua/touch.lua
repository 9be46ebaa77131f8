-- ARGV: create, key, ttl. The body stays where it is: only the header is written. What agentmem did not write gets one in
-- front, and a NUL that no JSON begins with, as `unpack` in layout.py would have it.
local p = policy(ARGV[1])
if not p then return {NO_PARTITION} end
local key = ARGV[2]
local h = head(key)
if not h then return {UNCHANGED, 0} end
local version, expires = next_version(h), expiry_of(tonumber(ARGV[3]), p)
local name = ENTRY .. key
local header = struct.pack(HEADER, 1, version, h.created, now, expires, h.metadata)
if h.version > 0 then
  call('SETRANGE', name, 0, header)
else
  local foreign = '\0' .. call('GET', name)
  call('SET', name, header .. foreign)
  grown = grown + #foreign
end
if expires > 0 then
  call('ZADD', EXPIRY, expires / 1000, key)
  call('HSET', SIZES, key, call('STRLEN', name) - HEADER_SIZE - h.metadata)
elseif h.expires > 0 then
  call('PERSIST', name)
  call('ZREM', EXPIRY, key)
  call('HDEL', SIZES, key)
end
if version > now then remember(version) end
local value = call('GET', name)
if expires > 0 then call('PEXPIREAT', name, last_millisecond(expires)) end
settle()
return {DONE, 1, value}
