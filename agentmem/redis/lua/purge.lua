-- ARGV: how many at most. Answers how many expired entries left the books.
local count = sweep(tonumber(ARGV[1]))
settle()
return count
