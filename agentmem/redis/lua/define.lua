-- ARGV: field, value, …; an empty value clears the field.
policy('1')
for i = 1, #ARGV, 2 do
  if ARGV[i + 1] == '' then
    call('HDEL', META, ARGV[i])
  else
    call('HSET', META, ARGV[i], ARGV[i + 1])
  end
end
return DONE
