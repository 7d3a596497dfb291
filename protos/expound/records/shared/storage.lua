-- What inputs and results of a tenant take, where that is limited: bytes of each explanation, those of
-- all under the name '', and when each is forgotten.
local function stored_key(tenant)
  return PREFIX .. 'stored:' .. tenant
end

local function unstore(tenant, id)
  local key = stored_key(tenant)
  local bytes = redis.call('HGET', key, id)
  if bytes then
    redis.call('HINCRBY', key, '', -bytes)
    redis.call('HDEL', key, id)
    redis.call('ZREM', key .. ':until', id)
  end
end

local function store_bytes(id, bytes)
  local record = redis.call('HMGET', record_key(id), 'metered', 'tenant', 'expire_time')
  if not record[1] then
    return
  end
  local key = stored_key(record[2])
  redis.call('HINCRBY', key, '', bytes)
  redis.call('HINCRBY', key, id, bytes)
  redis.call('ZADD', key .. ':until', record[3], id)
  keep_longer(key, record[3])
  keep_longer(key .. ':until', record[3])
end

-- Bytes of a tenant at a time, and when the next ones are forgotten.
local function stored(tenant, now)
  local key = stored_key(tenant)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', key .. ':until', '-inf', integer(now))) do
    unstore(tenant, id)
  end
  local bytes = tonumber(redis.call('HGET', key, '') or 0)
  return bytes, redis.call('ZRANGE', key .. ':until', 0, 0, 'WITHSCORES')[2]
end
