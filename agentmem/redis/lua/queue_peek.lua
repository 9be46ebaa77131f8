-- ARGV: queue, how many, '1' for the dead. Answers {DONE, id, header, body, …}, or {AGAIN}.
local q = queue_of(ARGV[1])
if not catch_up(q) then return {AGAIN} end
local ids
if ARGV[3] == '1' then
  ids = call('ZRANGEBYLEX', q.dead, '-', '+', 'LIMIT', 0, ARGV[2])
else
  ids = call('ZRANGEBYSCORE', q.ready, '-inf', '+inf', 'LIMIT', 0, ARGV[2])
end
local answer = {DONE}
for _, id in ipairs(ids) do
  local found = call('HMGET', q.items, id, id .. 'b')
  if parsed(found[1]) then
    answer[#answer + 1], answer[#answer + 2], answer[#answer + 3] = tonumber(id), found[1], found[2]
  end
end
return answer
