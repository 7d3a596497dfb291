-- Puts methods where workers look for jobs. ARGV: id, attempt at `explain`, units…
-- Gives those units that are pending; none when `explain` is not this attempt's any more.
local id, attempt = ARGV[1], ARGV[2]
local offered = {}
if not holds(id, 'explain', attempt) then
  return offered
end
for index = 3, #ARGV do
  local unit = ARGV[index]
  if redis.call('HGET', record_key(id), unit .. ':state') == PENDING then
    offer(id, unit)
    offered[#offered + 1] = unit
  end
end
return offered
