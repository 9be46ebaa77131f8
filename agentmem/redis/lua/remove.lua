-- ARGV: MessagePack of the keys, MessagePack of the versions that they must still have, or ''.
-- Answers how many living ones were removed, then the keys that have another version by now.
local keys = cmsgpack.unpack(ARGV[1])
local versions = ARGV[2] ~= '' and cmsgpack.unpack(ARGV[2])
floor = tonumber(call('HGET', META, 'floor') or 0)
local answer, highest = {0}, 0
for i, key in ipairs(keys) do
  local h = head(key)
  if not versions or (h and h.version == versions[i]) then
    if h then
      answer[1] = answer[1] + 1
      highest = math.max(highest, h.version)
    end
    drop(key, h)
  elseif h then
    answer[#answer + 1] = key
  end
end
remember(highest)
settle()
return answer
