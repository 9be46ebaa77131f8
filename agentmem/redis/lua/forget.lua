-- Takes a partition away whose entries, queues and Q-tables were removed. Answers 1, or 0 when there are any (again).
if call('EXISTS', INDEX, BASE .. 'q', BASE .. 't') > 0 then return 0 end
local last = tonumber(call('HGET', META, 'floor') or 0)
if last < now then
  call('UNLINK', META)
else -- the versions that were given ahead of the clock must be remembered: it stays, empty and without a policy
  call('HDEL', META, 'ttl', 'namespace', 'description', 'bytes')
end
return 1
