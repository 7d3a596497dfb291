-- Ends what is past its deadline or its ttl, and forgets what has expired. ARGV: error for a deadline,
-- error for a ttl, how many at most.
-- Gives how many it saw.
local deadline_error, ttl_error, limit = ARGV[1], ARGV[2], ARGV[3]
local now = now_us()
local due = redis.call('ZRANGEBYSCORE', PREFIX .. 'deadlines', '-inf', integer(now), 'LIMIT', 0, limit)
for _, id in ipairs(due) do
  local record = redis.call('HMGET', record_key(id), 'state', 'expire_time', 'tenant')
  if not is_open(record[1]) then
    redis.call('ZREM', PREFIX .. 'deadlines', id)
    if record[3] then
      redis.call('ZREM', index_key(record[3]), id)
    end
  elseif tonumber(record[2]) <= now then
    end_all(id, EXPIRED, ttl_error)
  else
    end_all(id, FAILED, deadline_error)
  end
end
return #due
