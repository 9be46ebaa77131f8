-- ARGV: create, table, MessagePack of {state, action, reward, next state or '', alpha, gamma, initial, …}
-- Answers {DONE, '<value> <visits>', …}, or {CONFLICT, step, '<value> <visits>'} where a step makes what cannot be.
local p = policy(ARGV[1])
if not p then return {NO_PARTITION} end
local name, steps = ARGV[2], cmsgpack.unpack(ARGV[3])
if not allowed(p, name) then return {REFUSED, p.namespace} end
local answer = {DONE}
for i = 1, #steps, 7 do
  local state, action, target, following = steps[i], steps[i + 1], steps[i + 2], steps[i + 3]
  if following ~= '' then target = target + steps[i + 5] * best(name, following) end
  local before = find(name, state, action) or {steps[i + 6], 0}
  local after = {before[1] + steps[i + 4] * (target - before[1]), before[2] + 1}
  if not is_possible(after) then return {CONFLICT, (i - 1) / 7, encode(after)} end
  set(state, action, after)
  answer[#answer + 1] = encode(after)
end
write(name)
return answer
