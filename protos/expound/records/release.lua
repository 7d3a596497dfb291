-- Gives a running unit back, for another worker to take at once. ARGV: id, unit, attempt, and "later" where
-- it should not be this one again.
-- Gives 1, or 0 when the unit is not this attempt's any more.
local id, unit, attempt = ARGV[1], ARGV[2], ARGV[3]
if not holds(id, unit, attempt) then
  return 0
end
give_back(id, unit, ARGV[4] and GIVE_WAY_US or 0)
return 1
