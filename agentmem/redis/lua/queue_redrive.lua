-- ARGV: queue, how many at most, from where. Answers {DONE or UNCHANGED, how many dead items were revived, the last one
-- looked at or false at the end}, or {AGAIN}.
local q = queue_of(ARGV[1])
if not catch_up(q) then return {AGAIN} end

local function take_turn(id, h)
  local head = call('HGET', q.heads, h.group)
  local other = head and read(q, head)
  if other and (other.till > 0 or head < id) then
    call('ZADD', q.blocked, 0, listed(h.group, id))
    return
  end
  if other then
    call('ZREM', q.ready, head)
    call('ZREM', q.due, head)
    call('ZADD', q.blocked, 0, listed(h.group, head))
  end
  call('HSET', q.heads, h.group, id)
  place(q, id, h)
end

local wanted, revived, last = tonumber(ARGV[2]), 0, false
local found = call('ZRANGEBYLEX', q.dead, ARGV[3], '+', 'LIMIT', 0, PIECE)
for _, id in ipairs(found) do
  if revived == wanted then break end
  last = id
  local h = read(q, id)
  if h and (h.dedup == '' or not call('HGET', q.keys, h.dedup)) then
    call('ZREM', q.dead, id)
    h.attempts, h.available = 0, now
    call('HSET', q.items, id, packed(h))
    if h.dedup ~= '' then call('HSET', q.keys, h.dedup, id) end
    if h.group ~= '' then take_turn(id, h) else place(q, id, h) end
    revived = revived + 1
  end
end
if q.fresh > 0 then announce(q) end
return {revived > 0 and DONE or UNCHANGED, revived, #found == PIECE and last}
