-- ARGV: create, key, body, metadata, ttl, expectation: '' for none, 'absent', or a version
local p = policy(ARGV[1])
if not p then return {NO_PARTITION} end
local key, body, metadata, ttl, expected = ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5]), ARGV[6]
if not allowed(p, key) then return {REFUSED, p.namespace} end
local h = head(key)
if expected == 'absent' then
  if h then return {CONFLICT, content(key)} end
elseif expected ~= '' and (not h or h.version ~= tonumber(expected)) then
  return {CONFLICT, h and content(key) or false}
end
local version, created, expires = next_version(h), h and h.created or now, expiry_of(ttl, p)
store(key, h, body, metadata, version, created, expires)
-- Who adds an entry that will expire clears two that have: so what an index holds in vain stays bounded.
if expires > 0 then sweep(2) end
settle()
return {DONE, version, created, now, expires}
