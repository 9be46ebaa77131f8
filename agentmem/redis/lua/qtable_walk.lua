-- ARGV: table, from, how many values; whole states.
-- Answers {the last state or false at the end, state, {action, '<value> <visits>', …}, …}.
local name, limit = ARGV[1], tonumber(ARGV[3])
local answer, count = {false}, 0
for i, state in ipairs(call('ZRANGEBYLEX', listing(name), ARGV[2], '+', 'LIMIT', 0, limit)) do
  local fields = call('HGETALL', values(name, state))
  answer[#answer + 1] = state
  answer[#answer + 1] = fields
  count = count + #fields / 2
  if count >= limit or i == limit then
    answer[1] = state
    break
  end
end
return answer
