local id, unit, attempt, kind, payload = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
if not holds(id, unit, attempt) then
  return 0
end
for index = 6, #ARGV, 2 do
  redis.call('HSET', record_key(id), ARGV[index], ARGV[index + 1])
end
emit(id, 'kind', kind, 'payload', payload)
return 1
