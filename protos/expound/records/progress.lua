-- Writes how far a method is while it runs. ARGV: id, unit, attempt, progress, the same without maps.
-- Gives 1, or 0 when the unit is not this attempt's any more.
local id, unit, attempt, progress, kept = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
if not holds(id, unit, attempt) then
  return 0
end
if leased(id, unit) then
  lease(id, unit, LEASE_US)
end
redis.call('HSET', record_key(id), unit .. ':progress', kept)
store_bytes(id, #progress)
emit(id, 'kind', 'progress', 'payload', progress)
return 1
