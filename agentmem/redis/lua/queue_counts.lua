-- ARGV: queue. Answers {DONE, ready, delayed, blocked, leased, dead}, or {AGAIN}.
local q = queue_of(ARGV[1])
if not catch_up(q) then return {AGAIN} end
local answer = {DONE}
for i, set in ipairs({q.ready, q.due, q.blocked, q.leases, q.dead}) do answer[i + 1] = call('ZCARD', set) end
return answer
