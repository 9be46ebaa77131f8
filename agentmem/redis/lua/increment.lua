-- ARGV: create, key, by, 'int' or 'float', initial, ttl (-2: what stands). Sums that a double does not hold exactly, and
-- values that are no numbers, are left to the planner: it decides them by compare-and-set.
local p = policy(ARGV[1])
if not p then return {NO_PARTITION} end
local key, by, kind, initial, ttl = ARGV[2], ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])
if not allowed(p, key) then return {REFUSED, p.namespace} end
local EXACT = 9007199254740992
local UNDECIDED = {CONFLICT}
local h = head(key)
local metadata, text = '', initial
if h then
  if h.version == 0 or body_size(key, h) > 32 then return UNDECIDED end
  local rest = call('GETRANGE', ENTRY .. key, HEADER_SIZE, -1)
  metadata, text = string.sub(rest, 1, h.metadata), string.sub(rest, h.metadata + 1)
end
local is_int = string.match(text, '^-?%d+$')
local is_number = is_int
for _, rest in ipairs({'%.%d+', '[eE][+-]?%d+', '%.%d+[eE][+-]?%d+'}) do
  is_number = is_number or string.match(text, '^-?%d+' .. rest .. '$')
end
if not is_number or string.match(text, '^-?0%d') then return UNDECIDED end
local before, step = tonumber(text), tonumber(by)
if not before then return UNDECIDED end
local sum = before + step
local body
if is_int and kind == 'int' then
  if math.abs(before) >= EXACT or math.abs(step) >= EXACT or math.abs(sum) >= EXACT then return UNDECIDED end
  body = string.format('%.0f', sum)
else
  if sum ~= sum or sum == math.huge or sum == -math.huge then return UNDECIDED end
  if (is_int and math.abs(before) >= EXACT) or (kind == 'int' and math.abs(step) >= EXACT) then return UNDECIDED end
  for digits = 15, 17 do
    body = string.format('%.' .. digits .. 'g', sum)
    if tonumber(body) == sum then break end
  end
  if not string.find(body, '[.e]') then body = body .. '.0' end
end
if body == '-0' then body = '0' end
local version, created = next_version(h), h and h.created or now
local expires
if ttl == -2 then
  expires = h and h.expires or expiry_of(-1, p)
else
  expires = expiry_of(ttl, p)
end
store(key, h, body, metadata, version, created, expires)
if expires > 0 then sweep(2) end
settle()
return {DONE, version, created, now, expires, body, metadata}
