-- ARGV: key, expected version or '', whether to return the value: '1' or ''
policy('')
local key, expected = ARGV[1], ARGV[2]
local h = head(key)
if expected ~= '' and (not h or h.version ~= tonumber(expected)) then
  return {CONFLICT, h and content(key) or false}
end
if not h then return {UNCHANGED, 0} end
local value = ARGV[3] == '1' and content(key) or false
drop(key, h)
remember(h.version)
settle()
return {DONE, 1, value}
