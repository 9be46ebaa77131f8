-- ARGV: MessagePack of the keys, '1' for whole values or '' for headers alone. What a plan needs to know.
local keys, whole = cmsgpack.unpack(ARGV[1]), ARGV[2] == '1'
local fields = call('HMGET', META, 'created', 'ttl', 'namespace', 'floor')
local answer = {now, fields[1], fields[2], fields[3], fields[4]}
for i, key in ipairs(keys) do
  if head(key) then
    answer[i + 5] = whole and content(key) or beginning(key)
  else
    answer[i + 5] = false
  end
end
return answer
