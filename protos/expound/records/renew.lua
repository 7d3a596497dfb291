-- Renews leases. ARGV: id, unit, attempt…
-- Gives for each 1, or 0 when the unit is not this attempt's any more.
local held = {}
for index = 1, #ARGV, 3 do
  local id, unit, attempt = ARGV[index], ARGV[index + 1], ARGV[index + 2]
  local mine = holds(id, unit, attempt)
  if mine then
    lease(id, unit, LEASE_US)
  end
  held[#held + 1] = mine and 1 or 0
end
return held
