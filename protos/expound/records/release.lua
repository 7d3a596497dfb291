local id, unit, attempt = ARGV[1], ARGV[2], ARGV[3]
if not holds(id, unit, attempt) then
  return 0
end
give_back(id, unit, 0)
return 1
