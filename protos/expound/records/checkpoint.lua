-- Keeps what a later attempt needs to go on. ARGV: id, unit, attempt, content.
-- Gives 1, or 0 when the unit is not this attempt's any more.
local id, unit, attempt, content = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if not holds(id, unit, attempt) then
  return 0
end
local key = record_key(id)
redis.call('SET', checkpoint_key(id, unit), content)
keep(checkpoint_key(id, unit), redis.call('HGET', key, 'expire_time'))
-- What goes on is hardly what ends its workers; `lost_in_all` stays for what is so all the same.
redis.call('HDEL', key, unit .. ':losses')
return 1
