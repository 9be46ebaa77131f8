-- Takes a partition away whose entries, queues and Q-tables were removed, with the few entries that others have put since:
-- who writes all the time would keep it for ever. Answers {1, or 0 when there are more, or queues or tables; how many entries}.
local FEW = 200
policy('')
local removed = 0
for _, key in ipairs(call('ZRANGEBYLEX', INDEX, '-', '+', 'LIMIT', 0, FEW)) do
  local h = head(key)
  drop(key, h)
  if h then
    removed = removed + 1
    remember(h.version)
  end
end
if call('EXISTS', INDEX, BASE .. 'q', BASE .. 't') > 0 then
  settle()
  return {0, removed}
end
if floor < now then
  call('UNLINK', META)
else -- the versions that were given ahead of the clock must be remembered: it stays, empty and without a policy
  call('HDEL', META, 'ttl', 'namespace', 'description', 'bytes')
end
return {1, removed}
