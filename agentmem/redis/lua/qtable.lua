-- In front of the scripts of Q-tables, behind the common part. TABLES holds the names of a partition's tables, `t:` and a
-- name the states of one, both in order; a state's hash has for each action its value and its visits: '0.25 3'.
local TABLES, MAX_VISITS = BASE .. 't', 9007199254740991
local function listing(name) return BASE .. 't:' .. name end
local function values(name, state) return BASE .. 'v:' .. name .. '\0' .. state end -- neither holds a NUL

local function encode(learned)
  return string.format('%.17g %.0f', learned[1], learned[2])
end

local function decode(text)
  local value, visits = string.match(text, '^(%S+) (%d+)$')
  return {tonumber(value), tonumber(visits)}
end

local function is_possible(learned)
  return learned[1] - learned[1] == 0 and learned[2] <= MAX_VISITS -- an infinity less itself is no number
end

-- What is known of a table, read as it is asked for, and what becomes of it; it is written at the end, or not at all.
local known, changed, whole = {}, {}, {}

local function find(name, state, action)
  local actions = known[state]
  if not actions then
    actions = {}
    known[state] = actions
  end
  if actions[action] == nil and not whole[state] then
    local text = call('HGET', values(name, state), action)
    actions[action] = text and decode(text) or false
  end
  return actions[action] or nil
end

local function best(name, state)
  local actions = known[state] or {}
  if not whole[state] then
    local fields = call('HGETALL', values(name, state))
    for i = 1, #fields, 2 do
      if actions[fields[i]] == nil then actions[fields[i]] = decode(fields[i + 1]) end
    end
    known[state], whole[state] = actions, true
  end
  local highest
  for _, learned in pairs(actions) do
    if learned and (not highest or learned[1] > highest) then highest = learned[1] end
  end
  return highest or 0
end

local function set(state, action, learned)
  known[state][action] = learned
  changed[state] = changed[state] or {}
  changed[state][action] = learned
end

local function write(name)
  for state, actions in pairs(changed) do
    call('ZADD', listing(name), 0, state)
    for action, learned in pairs(actions) do call('HSET', values(name, state), action, encode(learned)) end
  end
  call('ZADD', TABLES, 0, name)
end
