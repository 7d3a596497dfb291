local id, unit, worker, content = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local key = record_key(id)
local record = redis.call('HMGET', key, 'state', unit .. ':state')
if not record[1] or not is_open(record[1]) or record[2] ~= PENDING then
  return nil
end
local attempt = redis.call('HINCRBY', key, unit .. ':attempt', 1)
redis.call('HSET', key, unit .. ':state', RUNNING, unit .. ':worker', worker,
  unit .. ':start_time', integer(now_us()))
if record[1] == PENDING then
  redis.call('HSET', key, 'state', RUNNING)
  emit(id, 'kind', 'state', 'state', RUNNING, 'error', '')
end
if unit ~= 'explain' then
  emit(id, 'kind', 'method', 'unit', unit, 'state', RUNNING, 'error', '', 'attempt', attempt)
end
if content == '' then
  return {attempt}
end
local wanted = redis.call('HMGET', key, 'request', 'predictions', 'inputs')
local claimed = {attempt, wanted[1], wanted[2] or ''}
for input = 0, wanted[3] - 1 do
  claimed[#claimed + 1] = redis.call('GET', key .. ':input:' .. integer(input))
end
return claimed
