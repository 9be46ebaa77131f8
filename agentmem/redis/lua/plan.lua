-- What a plan was made from, compared, and the plan carried out. It is
--   {ttl, namespace, floor (as the plan saw them, texts or ''),
--   {key, version or 0, …}: what was read,
--   {key, body, metadata, steps, created or 0, expiry, relative: 1 or 0, …}: what to store,
--   {key, steps, …}: what to remove}
-- `steps` is how many versions the batch gives the key; an expiry is microseconds since 1970, or milliseconds from now.

-- The headers of the entries that were read, if all of it still stands, else nil. Writes nothing.
local function still_stands(plan)
  local fields = call('HMGET', META, 'ttl', 'namespace', 'floor')
  for i = 1, 3 do
    if (fields[i] or '') ~= plan[i] then return nil end
  end
  local heads, read = {}, plan[4]
  for i = 1, #read, 2 do
    local h = head(read[i])
    if (h and h.version or 0) ~= read[i + 1] then return nil end
    heads[read[i]] = h
  end
  return heads
end

local function carry_out(plan, heads)
  local first = {} -- versions are reckoned from the floor as it was, as the plan does
  local base = floor
  local function version_of(key, steps)
    local h = heads[key]
    return math.max(now, base + 1, h and h.version + 1 or 0) + steps - 1
  end
  local removed = plan[6]
  for i = 1, #removed, 2 do
    local key, steps = removed[i], removed[i + 1]
    local h = heads[key]
    if h then drop(key, h) end
    first[#first + 1] = steps > 0 and version_of(key, steps) or (h and h.version or 0)
  end
  local stored, expiring = plan[5], 0
  for i = 1, #stored, 7 do
    local key, expires = stored[i], stored[i + 5]
    if stored[i + 6] == 1 then expires = expiry_in(expires) end
    if expires > 0 then expiring = expiring + 2 end
    local created = stored[i + 4] > 0 and stored[i + 4] or now
    store(key, heads[key], stored[i + 1], stored[i + 2], version_of(key, stored[i + 3]), created, expires)
  end
  for _, version in ipairs(first) do remember(version) end
  if expiring > 0 then sweep(expiring) end
  settle()
end
