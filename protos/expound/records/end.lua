-- Ends everything unfinished. ARGV: id, state, error, then unit and attempt of the one who says so, or ""
-- for both.
-- Gives 1, 0 when it had ended, or the unit is not this attempt's any more, or nil for no such explanation.
local id, state, error, unit, attempt = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local current = redis.call('HGET', record_key(id), 'state')
if not current then
  return nil
end
if not is_open(current) or (unit ~= '' and not holds(id, unit, attempt)) then
  return 0
end
end_all(id, state, error)
return 1
