-- ARGV: table, factor, from, how many values; whole states. Answers {how many, the last state or false at the end}.
local name, factor, limit = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[4])
local count = 0
local states = call('ZRANGEBYLEX', listing(name), ARGV[3], '+', 'LIMIT', 0, limit)
for i, state in ipairs(states) do
  local fields = call('HGETALL', values(name, state))
  for j = 1, #fields, 2 do
    local learned = decode(fields[j + 1])
    call('HSET', values(name, state), fields[j], encode({learned[1] * factor, learned[2]}))
    count = count + 1
  end
  if count >= limit or i == limit then return {count, state} end
end
return {count, false}
