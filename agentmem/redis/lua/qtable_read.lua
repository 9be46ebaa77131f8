-- ARGV: table, MessagePack of states. Answers for each {action, '<value> <visits>', …}.
local answer = {}
for i, state in ipairs(cmsgpack.unpack(ARGV[2])) do answer[i] = call('HGETALL', values(ARGV[1], state)) end
return answer
