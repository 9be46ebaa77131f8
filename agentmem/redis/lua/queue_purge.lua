-- ARGV: queue, '1' for the dead alone. Answers {DONE or UNCHANGED, how many were removed, 1 where there may be more}, or
-- {AGAIN}. Those who wait for others go first, so that nobody gets a turn in vain.
local q = queue_of(ARGV[1])
if not catch_up(q) then return {AGAIN} end
local removed = 0
local function remove(set, is_living)
  local members = call('ZRANGEBYSCORE', set, '-inf', '+inf', 'LIMIT', 0, PIECE - removed)
  local fields = {}
  for _, member in ipairs(members) do
    local id = string.sub(member, -16)
    local h = read(q, id)
    if h and h.till > 0 then call('ZREM', q.claims, listed(h.request, id)) end
    if h and h.dedup ~= '' and is_living then call('HDEL', q.keys, h.dedup) end
    if h and h.group ~= '' and is_living and set ~= q.blocked then q.turns[h.group] = true end
    fields[#fields + 1], fields[#fields + 2] = id, id .. 'b'
  end
  all('ZREM', set, members)
  all('HDEL', q.items, fields)
  removed = removed + #members
end
q.turns = {}
if ARGV[2] == '1' then
  remove(q.dead, false)
else
  for _, set in ipairs({q.blocked, q.due, q.ready, q.leases}) do
    if removed < PIECE then remove(set, true) end
  end
  if removed < PIECE then remove(q.dead, false) end
end
for group in pairs(q.turns) do pass_on(q, group) end
if removed > 0 then tidy(q) end
if q.fresh > 0 then announce(q) end
return {removed > 0 and DONE or UNCHANGED, removed, removed == PIECE and 1 or 0}
