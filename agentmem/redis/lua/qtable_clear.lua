-- ARGV: table, how many values; whole states. Answers {how many, 1 if there may be more}.
local name, limit = ARGV[1], tonumber(ARGV[2])
local count = 0
local states = call('ZRANGEBYLEX', listing(name), '-', '+', 'LIMIT', 0, limit)
for i, state in ipairs(states) do
  count = count + call('HLEN', values(name, state))
  call('UNLINK', values(name, state))
  call('ZREM', listing(name), state)
  if count >= limit or i == limit then return {count, 1} end
end
call('ZREM', TABLES, name)
return {count, 0}
