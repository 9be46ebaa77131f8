-- Without arguments the whole partition: {living, expired, bytes of the living}, or {-1} where so many have expired that
-- they should be cleared first. With ARGV from, to, count, a piece of it: the same, then the last member or false.
if #ARGV == 0 then
  local dead = call('ZRANGEBYSCORE', EXPIRY, '-inf', math.floor(now / 1000), 'LIMIT', 0, 2001)
  if #dead > 2000 then return {-1} end
  local bytes = tonumber(call('HGET', META, 'bytes') or 0)
  for _, key in ipairs(dead) do bytes = bytes - tonumber(call('HGET', SIZES, key) or 0) end
  return {call('ZCARD', INDEX) - #dead, #dead, bytes}
end
local members = call('ZRANGEBYLEX', INDEX, ARGV[1], ARGV[2], 'LIMIT', 0, ARGV[3])
local living, bytes = 0, 0
for _, key in ipairs(members) do
  local h = head(key)
  if h then
    living = living + 1
    bytes = bytes + body_size(key, h)
  end
end
return {living, #members - living, bytes, #members == tonumber(ARGV[3]) and members[#members] or false}
