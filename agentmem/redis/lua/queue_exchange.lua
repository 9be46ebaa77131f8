-- One atomic step. ARGV: create, MessagePack of
--   {the queues' names,
--   {queue, id, fence, verb, delay in µs, error, …}: the settles; a queue is its place among the names,
--   {queue, body, delay in µs, priority, dedup key, group, max_attempts, …}: the puts; texts are '' for none,
--   {queue, limit, lease in µs, request}: the claim, or {},
--   the plan (plan.lua) of the commands, or {}}
-- Answers {DONE or UNCHANGED, now, {id, 1 if it was put, …}, {the new end of each extended lease}, {id, header, body, …}},
-- {LOST, the place of each settle whose lease does not stand}, {REFUSED, the namespace that forbids a put, its queue},
-- {CONFLICT}, {AGAIN}, or {NO_PARTITION}.
local step = cmsgpack.unpack(ARGV[2])
local settles, puts, claim, plan = step[2], step[3], step[4], step[5]
local p = (#puts > 0 or #plan > 0) and policy('')
local stores = #puts > 0 or (#plan > 0 and #plan[5] + #plan[6] > 0)
if stores and not p and ARGV[1] ~= '1' then return {NO_PARTITION} end
for i = 1, p and #puts or 0, 7 do
  local name = step[1][puts[i]]
  if not allowed(p, name) then return {REFUSED, p.namespace, name} end
end

local queues = {}
for i, name in ipairs(step[1]) do
  queues[i] = queue_of(name)
  if not catch_up(queues[i]) then return {AGAIN} end
  queues[i].fresh, queues[i].free, queues[i].unclaimed, queues[i].gone = 0, {}, {}, {}
end
local leased, lost = {}, {LOST}
for i = 1, #settles, 6 do
  local h = read(queues[settles[i]], id_of(settles[i + 1]))
  if h and h.till > 0 and h.fence == settles[i + 2] then
    leased[i] = h
  else
    lost[#lost + 1] = (i - 1) / 6
  end
end
if #lost > 1 then return lost end
local heads = #plan > 0 and still_stands(plan)
if #plan > 0 and not heads then return {CONFLICT} end

-- From here on nothing fails.
if stores and not p then policy('1') end
if heads then carry_out(plan, heads) end

local ends = {}
local function settle_one(q, id, h, verb, delay, complaint)
  if verb == 'extend' then
    h.till = now + delay
    ends[#ends + 1] = h.till
    call('HSET', q.items, id, packed(h))
    call('ZADD', q.leases, h.till, id)
    return
  end
  q.free[#q.free + 1], q.unclaimed[#q.unclaimed + 1] = id, listed(h.request, id)
  if verb == 'ack' then
    q.gone[#q.gone + 1], q.gone[#q.gone + 2] = id, id .. 'b'
    return let_go(q, h)
  end
  h.till, h.request, h.error = 0, '', complaint
  if verb == 'nack' then h.available = now + delay end
  call('HSET', q.items, id, packed(h))
  if verb == 'nack' then return try_again(q, id, h) end
  call('ZADD', q.dead, 0, id)
  let_go(q, h)
end
for i = 1, #settles, 6 do
  settle_one(queues[settles[i]], id_of(settles[i + 1]), leased[i], settles[i + 3], settles[i + 4], settles[i + 5])
end
for _, q in ipairs(queues) do
  all('ZREM', q.leases, q.free)
  all('ZREM', q.claims, q.unclaimed)
  all('HDEL', q.items, q.gone)
end

local answers = {}
local function put_one(q, body, delay, priority, dedup, group, ceiling)
  local holder = dedup ~= '' and call('HGET', q.keys, dedup)
  if holder then return tonumber(holder), 0 end
  if not q.last then
    local last = call('HGET', q.items, 'n')
    if not last then call('ZADD', QUEUES, 0, q.name) end
    q.last = tonumber(last or 0)
  end
  q.last = math.max(now, floor + 1, q.last + 1)
  local id = id_of(q.last)
  local h = {
    priority = priority, ceiling = ceiling, attempts = 0, fence = 0, enqueued = now, available = now + delay, till = 0,
    dedup = dedup, group = group, request = '', error = '',
  }
  call('HSET', q.items, id, packed(h), id .. 'b', body, 'n', id)
  if dedup ~= '' then call('HSET', q.keys, dedup, id) end
  if group ~= '' and call('HGET', q.heads, group) then
    call('ZADD', q.blocked, 0, listed(group, id))
  else
    if group ~= '' then call('HSET', q.heads, group, id) end
    place(q, id, h)
  end
  return q.last, 1
end
for i = 1, #puts, 7 do
  local id, created = put_one(queues[puts[i]], unpack(puts, i + 1, i + 6))
  answers[#answers + 1] = id
  answers[#answers + 1] = created
end

-- The items that a request has already, or else those whose turn it is, which are taken out of ready.
local function chosen(q, limit, request)
  local ids = listed_under(q.claims, request, PIECE)
  if #ids > 0 then
    for i, member in ipairs(ids) do ids[i] = string.sub(member, -16) end
    return ids, true
  end
  local popped = call('ZPOPMIN', q.ready, limit)
  for i = 1, #popped, 2 do ids[(i + 1) / 2] = popped[i] end
  return ids, false
end
local items, taken = {}, 0
local function claim_some(q, limit, lease, request)
  local ids, again = chosen(q, limit, request)
  if #ids == 0 then return end
  local fields, leases, claims, changes = {}, {}, {}, {}
  for i, id in ipairs(ids) do
    fields[2 * i - 1], fields[2 * i] = id, id .. 'b'
  end
  local found = call('HMGET', q.items, unpack(fields))
  for i, id in ipairs(ids) do
    local text, body = found[2 * i - 1], found[2 * i]
    local h = parsed(text)
    if h and not again then
      h.attempts, h.fence, h.till, h.request = h.attempts + 1, h.fence + 1, now + lease, request
      text = packed(h)
      leases[#leases + 1], leases[#leases + 2] = h.till, id
      claims[#claims + 1], claims[#claims + 2] = 0, listed(request, id)
      changes[#changes + 1], changes[#changes + 2] = id, text
    end
    if h then
      items[#items + 1], items[#items + 2], items[#items + 3] = tonumber(id), text, body
    end
  end
  q.is_busy = #items > 0
  if again then return end
  all('ZADD', q.leases, leases)
  all('ZADD', q.claims, claims)
  all('HSET', q.items, changes)
  taken = #ids
  q.fresh = q.fresh - taken
end
if #claim > 0 then claim_some(queues[claim[1]], claim[2], claim[3], claim[4]) end

for _, q in ipairs(queues) do
  if #q.gone > 0 and not q.is_busy then tidy(q) end
  if q.fresh > 0 then announce(q) end
end
local wrote = #settles > 0 or taken > 0 or heads
for i = 2, #answers, 2 do wrote = wrote or answers[i] == 1 end
return {wrote and DONE or UNCHANGED, now, answers, ends, items}
