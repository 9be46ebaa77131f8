-- In front of every script about queues: their books, and how an item moves between them. An item has a field of its own
-- for its header and one for its body; bodies, and all texts in headers, are opaque bytes. What is not dead is in exactly
-- one of ready, due, leases and blocked. Of a group one item has the turn; it is named in heads, the others are blocked.
local ITEM, ITEM_SIZE = '>BhI8I8I8I8I8I8I2I2I2I2', 59
local QUEUES = BASE .. 'q'
local PIECE = 1000 -- what one script does at the most before others have their turn
local LOST, AGAIN = -3, -4

local function queue_of(name)
  return {
    name = name,
    items = BASE .. 'qi:' .. name, -- hash: id to header, id and 'b' to body, 'n' to the last id
    ready = BASE .. 'qr:' .. name, -- ids by priority, the highest first
    due = BASE .. 'qd:' .. name, -- ids by the time for which they wait
    leases = BASE .. 'ql:' .. name, -- ids by the end of their lease
    blocked = BASE .. 'qb:' .. name, -- ids by their group
    dead = BASE .. 'qx:' .. name, -- ids
    keys = BASE .. 'qk:' .. name, -- hash: dedup key to id
    heads = BASE .. 'qh:' .. name, -- hash: group to the id that has the turn
    claims = BASE .. 'qc:' .. name, -- leased ids by the request that claimed them
    fresh = 0, -- how many this script has made ready
  }
end

-- Ids as they are stored are of one length, so that their order as texts is theirs as numbers.
local function id_of(number)
  return string.format('%016.0f', number)
end

-- A header, or nil: the item is gone, or somebody else wrote there.
local function parsed(text)
  if not text or #text < ITEM_SIZE or string.byte(text) ~= 1 then return nil end
  local h, _, d, g, r, e, at = {}
  _, h.priority, h.ceiling, h.attempts, h.fence, h.enqueued, h.available, h.till, d, g, r, e, at = struct.unpack(ITEM, text)
  if #text ~= ITEM_SIZE + d + g + r + e then return nil end
  h.dedup, h.group = string.sub(text, at, at + d - 1), string.sub(text, at + d, at + d + g - 1)
  at = at + d + g
  h.request, h.error = string.sub(text, at, at + r - 1), string.sub(text, at + r)
  return h
end

local function packed(h)
  return struct.pack(ITEM, 1, h.priority, h.ceiling, h.attempts, h.fence, h.enqueued, h.available, h.till,
    #h.dedup, #h.group, #h.request, #h.error) .. h.dedup .. h.group .. h.request .. h.error
end

local function read(q, id)
  return parsed(call('HGET', q.items, id))
end

-- Sorted sets by text: a member is the length of the text, the text and the id, so that no text runs into another.
local function listed(text, id)
  return string.format('%04x', #text) .. text .. id
end

local function listed_under(set, text, limit)
  local first = listed(text, '')
  return call('ZRANGEBYLEX', set, '[' .. first, '(' .. first .. '\255', 'LIMIT', 0, limit)
end

local function all(command, name, list)
  for i = 1, #list, 4000 do call(command, name, unpack(list, i, math.min(i + 3999, #list))) end -- Lua's stack ends at 8,000
end

-- Where an item waits that has its group's turn, or no group.
local function place(q, id, h)
  if h.available > now then
    call('ZADD', q.due, h.available, id)
  else
    call('ZADD', q.ready, 0 - h.priority, id)
    q.fresh = q.fresh + 1
  end
end

-- The turn goes to the group's lowest id.
local function pass_on(q, group)
  local member = listed_under(q.blocked, group, 1)[1]
  while member do
    call('ZREM', q.blocked, member)
    local id = string.sub(member, -16)
    local h = read(q, id)
    if h then
      call('HSET', q.heads, group, id)
      return place(q, id, h)
    end
    member = listed_under(q.blocked, group, 1)[1]
  end
  call('HDEL', q.heads, group)
end

-- The item is in no book but that of its group, whose turn it has: it waits again, behind a lower id that was redriven.
local function give_back(q, id, h)
  if h.group == '' then return place(q, id, h) end
  local member = listed_under(q.blocked, h.group, 1)[1]
  if not member or string.sub(member, -16) > id then return place(q, id, h) end
  call('ZADD', q.blocked, 0, listed(h.group, id))
  pass_on(q, h.group)
end

-- What others may have for themselves once an item is dead or gone.
local function let_go(q, h)
  if h.dedup ~= '' then call('HDEL', q.keys, h.dedup) end
  if h.group ~= '' then pass_on(q, h.group) end
end

-- After an attempt that failed.
local function try_again(q, id, h)
  if h.ceiling > 0 and h.attempts >= h.ceiling then
    call('ZADD', q.dead, 0, id)
    let_go(q, h)
  else
    give_back(q, id, h)
  end
end

-- Lets time do its work. Answers whether all of it is done; if not, the script must end with AGAIN before it does
-- anything else, and is called again.
local function catch_up(q)
  local ended = call('ZRANGEBYSCORE', q.leases, '-inf', now, 'LIMIT', 0, PIECE)
  for _, id in ipairs(ended) do
    call('ZREM', q.leases, id)
    local h = read(q, id)
    if h then
      call('ZREM', q.claims, listed(h.request, id))
      h.till, h.request = 0, ''
      call('HSET', q.items, id, packed(h))
      try_again(q, id, h)
    end
  end
  local due = call('ZRANGEBYSCORE', q.due, '-inf', now, 'LIMIT', 0, PIECE)
  for _, id in ipairs(due) do
    call('ZREM', q.due, id)
    local h = read(q, id)
    if h then place(q, id, h) end
  end
  return #ended < PIECE and #due < PIECE
end

-- A queue that holds nothing leaves nothing; but its ids are not given again.
local function tidy(q)
  if call('EXISTS', q.ready, q.due, q.leases, q.blocked, q.dead) > 0 then return end
  floor = tonumber(call('HGET', META, 'floor') or 0)
  remember(tonumber(call('HGET', q.items, 'n') or 0))
  call('UNLINK', q.items, q.keys, q.heads, q.claims)
  call('ZREM', QUEUES, q.name)
end

-- Wakes those who wait; whoever may not publish wakes nobody, and they look by themselves now and then.
local function announce(q)
  redis.pcall('PUBLISH', QUEUES .. ':' .. q.name, '')
end
