-- ARGV: key, expected version or '', whether to return the value: '1' or ''
local p = policy('')
local key, expected = ARGV[1], ARGV[2]
local h = p and head(key)
if expected ~= '' and (not h or h.version ~= tonumber(expected)) then
  return {CONFLICT, h and call('GET', ENTRY .. key) or false}
end
if not h then return {DONE, 0} end
local value = ARGV[3] == '1' and call('GET', ENTRY .. key) or false
drop(key, h)
remember(h.version)
settle()
return {DONE, 1, value}
