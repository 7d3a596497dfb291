-- Adds an event, and fields to the record, while a unit runs. ARGV: id, unit, attempt, kind, payload, then
-- field, value…
-- Gives 1, or 0 when the unit is not this attempt's any more.
local id, unit, attempt, kind, payload = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
if not holds(id, unit, attempt) then
  return 0
end
-- A second attempt predicts anew, but has nothing new to tell.
if kind == 'predictions' and redis.call('HEXISTS', record_key(id), 'predictions') == 1 then
  return 1
end
if leased(id, unit) then
  lease(id, unit, LEASE_US)
end
for index = 6, #ARGV, 2 do
  redis.call('HSET', record_key(id), ARGV[index], ARGV[index + 1])
end
store_bytes(id, #payload)
emit(id, 'kind', kind, 'payload', payload)
return 1
