-- ARGV: create, ttl, MessagePack of {key, body, metadata, …}: unconditional puts of distinct keys
local p = policy(ARGV[1])
if not p then return {NO_PARTITION} end
local ttl, entries = tonumber(ARGV[2]), cmsgpack.unpack(ARGV[3])
for i = 1, #entries, 3 do
  if not allowed(p, entries[i]) then return {REFUSED, p.namespace, entries[i]} end
end
local expires = expiry_of(ttl, p)
if expires > 0 then sweep(#entries / 3) end
-- Of new entries the version and the creation are `now`; only others are listed: place, version, creation.
local answer, heads = {DONE, now, expires}, {}
for i = 1, #entries, 3 do heads[i] = head(entries[i]) end
for i = 1, #entries, 3 do
  local key, h = entries[i], heads[i]
  local version, created = math.max(now, floor + 1, h and h.version + 1 or 0), h and h.created or now
  if version ~= now or created ~= now then
    answer[#answer + 1] = (i - 1) / 3
    answer[#answer + 1] = version
    answer[#answer + 1] = created
  end
  store(key, h, entries[i + 1], entries[i + 2], version, created, expires)
end
settle()
return answer
