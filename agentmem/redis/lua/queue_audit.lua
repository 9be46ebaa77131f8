-- ARGV: queue, the letter of one of its sets, from which rank, how many. Answers for `memory.check()`
-- {the sizes of all its books, the next rank or -1 at the end, {member, score, header, body, the letters of the other sets
-- that hold it, the id that its dedup key leads to, the id that has its group's turn}, …}; a large piece ends early.
local LARGE = 4194304
local q = queue_of(ARGV[1])
local sets = {r = q.ready, d = q.due, l = q.leases, b = q.blocked, x = q.dead}
local sizes = {call('HLEN', q.items), call('HLEN', q.keys), call('HLEN', q.heads)}
for _, set in ipairs({q.claims, q.ready, q.due, q.leases, q.blocked, q.dead}) do sizes[#sizes + 1] = call('ZCARD', set) end
local from, count = tonumber(ARGV[3]), tonumber(ARGV[4])
local members = call('ZRANGE', sets[ARGV[2]], from, from + count - 1, 'WITHSCORES')
local answer, bytes, after = {sizes, #members < 2 * count and -1 or from + count}, 0, from
for i = 1, #members, 2 do
  local id = string.sub(members[i], -16)
  local found = call('HMGET', q.items, id, id .. 'b')
  local h, others = parsed(found[1]), ''
  for letter, set in pairs(sets) do
    local other = letter == 'b' and listed(h and h.group or '', id) or id
    if letter ~= ARGV[2] and call('ZSCORE', set, other) then others = others .. letter end
  end
  if h and h.till > 0 and call('ZSCORE', q.claims, listed(h.request, id)) then others = others .. 'c' end
  answer[#answer + 1] = {
    members[i], members[i + 1], h and found[1] or '', found[2], others,
    h and h.dedup ~= '' and call('HGET', q.keys, h.dedup) or false,
    h and h.group ~= '' and call('HGET', q.heads, h.group) or false,
  }
  bytes, after = bytes + #(found[2] or ''), after + 1
  if bytes > LARGE and i + 1 < #members then
    answer[2] = after
    break
  end
end
return answer
