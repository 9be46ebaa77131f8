-- ARGV: from, to, the literal prefix, '1' where the prefix itself does not count. Answers the number of living entries in
-- the range, or -1 where so many have expired that they should be cleared first.
local dead = call('ZCOUNT', EXPIRY, '-inf', math.floor(now / 1000))
local prefix = ARGV[3]
if prefix == '' then return call('ZCARD', INDEX) - dead end
if dead > 2000 then return -1 end
local living = call('ZLEXCOUNT', INDEX, ARGV[1], ARGV[2])
if dead > 0 then
  for _, key in ipairs(call('ZRANGEBYSCORE', EXPIRY, '-inf', math.floor(now / 1000))) do
    if string.sub(key, 1, #prefix) == prefix and not (ARGV[4] == '1' and key == prefix) then living = living - 1 end
  end
end
return living
