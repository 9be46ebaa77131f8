-- ARGV: queue. Answers after how many microseconds something may be ready: 0 for now, -1 for not by time alone.
local q = queue_of(ARGV[1])
if call('EXISTS', q.ready) == 1 then return 0 end
local soonest = -1
for _, set in ipairs({q.due, q.leases}) do
  local first = call('ZRANGEBYSCORE', set, '-inf', '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
  local left = first[2] and math.max(0, tonumber(first[2]) - now)
  if left and (soonest < 0 or left < soonest) then soonest = left end
end
return soonest
