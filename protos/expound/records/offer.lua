-- Puts methods where workers look for jobs. ARGV: id, attempt at `explain`, units…
-- Gives 1, or 0 when `explain` is not this attempt's any more.
local id, attempt = ARGV[1], ARGV[2]
if not holds(id, 'explain', attempt) then
  return 0
end
for index = 3, #ARGV do
  local unit = ARGV[index]
  if redis.call('HGET', record_key(id), unit .. ':state') == PENDING then
    offer(id, unit)
  end
end
return 1
