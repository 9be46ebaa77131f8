-- ARGV: from, count. Answers {now, noted bytes, the last member looked at or false at the end, key, value, due, size, …}
-- for `memory.check()`; a large piece ends early.
local LARGE = 4194304
local members = call('ZRANGEBYLEX', INDEX, ARGV[1], '+', 'LIMIT', 0, ARGV[2])
local answer, bytes = {now, call('HGET', META, 'bytes') or '0', false}, 0
for i, key in ipairs(members) do
  local value = content(key)
  answer[#answer + 1] = key
  answer[#answer + 1] = value
  answer[#answer + 1] = call('ZSCORE', EXPIRY, key)
  answer[#answer + 1] = call('HGET', SIZES, key)
  bytes = bytes + (value and #value or 0)
  if bytes > LARGE or i == tonumber(ARGV[2]) then
    answer[3] = key
    break
  end
end
return answer
