-- ARGV: from, count. Answers {now, noted bytes, the last member or false, key, value, due, size, …} for `memory.check()`.
local members = call('ZRANGEBYLEX', INDEX, ARGV[1], '+', 'LIMIT', 0, ARGV[2])
local last = #members == tonumber(ARGV[2]) and members[#members] or false
local answer = {now, call('HGET', META, 'bytes') or '0', last}
for _, key in ipairs(members) do
  answer[#answer + 1] = key
  answer[#answer + 1] = call('GET', ENTRY .. key)
  answer[#answer + 1] = call('ZSCORE', EXPIRY, key)
  answer[#answer + 1] = call('HGET', SIZES, key)
end
return answer
