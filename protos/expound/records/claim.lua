local id, unit, worker = ARGV[1], ARGV[2], ARGV[3]
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
return attempt
