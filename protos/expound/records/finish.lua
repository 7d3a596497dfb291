-- Ends a running unit. ARGV: id, unit, attempt, state, error, result or "", the same without tensors, and
-- for a pending method, which it takes first, the worker, the attempt at `explain` that it holds, and how
-- long the method took (µs).
-- Gives 1, or 0 when the unit is not the worker's to end.
local id, unit, attempt, state, error = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local result, summary = ARGV[6], ARGV[7]
local worker, explain_attempt, taken_us = ARGV[8], ARGV[9], ARGV[10]
if explain_attempt then
  if not holds(id, 'explain', explain_attempt) or not claim(id, unit, worker, explain_attempt) then
    return 0
  end
  redis.call('HSET', record_key(id), unit .. ':start_time', integer(now_us() - taken_us))
elseif not holds(id, unit, attempt) then
  return 0
end
local key = record_key(id)
if unit == 'explain' then
  redis.call('HSET', key, 'explain:state', state, 'explain:end_time', integer(now_us()))
  unlease(id, unit)
  return 1
end
if result ~= '' then
  local result_key = key .. ':result:' .. unit
  redis.call('SET', result_key, result)
  keep(result_key, redis.call('HGET', key, 'expire_time'))
  store_bytes(id, #result)
  redis.call('HSET', key, unit .. ':summary', summary)
end
local open = end_method(id, unit, state, error)
if state == SUCCEEDED then
  share_answer(id, unit)
end
if open == 0 then
  end_by_methods(id)
end
return 1
