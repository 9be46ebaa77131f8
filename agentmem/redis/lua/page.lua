-- ARGV: from, to, '1' for descending, how many members to look at, '1' for whole values or '' for headers alone.
-- Answers {now, the last member looked at or false at the end, key, value, …}; a large page ends early.
local LARGE = 4194304
local count = tonumber(ARGV[4])
local members = call(ARGV[3] == '1' and 'ZREVRANGEBYLEX' or 'ZRANGEBYLEX', INDEX, ARGV[1], ARGV[2], 'LIMIT', 0, count)
local look = ARGV[5] == '1' and content or beginning
local answer, bytes = {now, false}, 0
for i, key in ipairs(members) do
  local value = look(key)
  if value and value ~= '' then
    answer[#answer + 1] = key
    answer[#answer + 1] = value
    bytes = bytes + #value
  end
  if bytes > LARGE or (i == #members and i == count) then
    answer[2] = key
    break
  end
end
return answer
