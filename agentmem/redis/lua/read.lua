-- ARGV: MessagePack of the keys, '1' for whole values or '' for headers alone. What a plan needs to know.
local keys, whole = cmsgpack.unpack(ARGV[1]), ARGV[2] == '1'
local fields = call('HMGET', META, 'created', 'ttl', 'namespace', 'floor')
local answer = {now, fields[1], fields[2], fields[3], fields[4]}
for i, key in ipairs(keys) do
  if head(key) then
    answer[i + 5] = whole and call('GET', ENTRY .. key) or call('GETRANGE', ENTRY .. key, 0, HEADER_SIZE - 1)
  else
    answer[i + 5] = false
  end
end
return answer
