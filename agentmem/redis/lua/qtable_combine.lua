-- ARGV: create, table, '1' to merge or '' to replace, MessagePack of {state, action, value, visits, …}
-- Answers {DONE}, or {CONFLICT, place, '<value> <visits>'} where a value would become what cannot be.
local p = policy(ARGV[1])
if not p then return {NO_PARTITION} end
local name, merges, given = ARGV[2], ARGV[3] == '1', cmsgpack.unpack(ARGV[4])
if not allowed(p, name) then return {REFUSED, p.namespace} end
for i = 1, #given, 4 do
  local state, action, value, visits = given[i], given[i + 1], given[i + 2], given[i + 3]
  local mine = find(name, state, action)
  local after = {value, visits}
  if merges and mine and mine[2] > 0 then
    after = mine
    if visits > 0 then
      local sum = mine[2] + visits
      after = {mine[1] + (value - mine[1]) * (visits / sum), sum}
    end
  end
  if not is_possible(after) then return {CONFLICT, (i - 1) / 4, encode(after)} end
  set(state, action, after)
end
write(name)
return {DONE}
