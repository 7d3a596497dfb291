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
