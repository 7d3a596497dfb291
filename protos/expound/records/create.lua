local id, request_id, hash, request = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local timeout_us, ttl_us, methods = ARGV[5], ARGV[6], ARGV[7]
local pool, model, group = ARGV[8], ARGV[9], ARGV[10]
local tenant = ARGV[11]
local most_open, images_a_minute, most_waiting = tonumber(ARGV[12]), tonumber(ARGV[13]), tonumber(ARGV[14])
local question, max_age_us = ARGV[15], tonumber(ARGV[16])
local most_stored = tonumber(ARGV[17])
local waiting, weights, lasting = ARGV[18], ARGV[19], ARGV[20]
local FIRST_INPUT = 21
local MINUTE_US = 60000000

local used_key = request_key(tenant, request_id)
if request_id ~= '' then
  local used = redis.call('GET', used_key)
  if used then
    local used_id, used_hash = used:match('^(%S+) (%S+)$')
    if redis.call('EXISTS', record_key(used_id)) == 1 then
      return {used_hash == hash and 'existing' or 'conflict', used_id, 0}
    end
  end
end

local key, open, images = record_key(id), open_key(tenant), PREFIX .. 'images:' .. tenant
local created = now_us()
group = group ~= '' and group or 'alone:' .. id
local queue = lasting == 'lasting' and lasting_queue(pool) or pool
local expires = created + ttl_us
local deadline = math.min(created + timeout_us, expires)
local inputs = #ARGV - FIRST_INPUT + 1

-- What is in flight is counted, never kept as a number, so that nothing that goes wrong elsewhere can
-- use up a quota: what is past its deadline for long has ended, whether or not anybody said so.
redis.call('ZREMRANGEBYSCORE', open, '-inf', integer(created - GRACE_MS * 1000))
if most_open > 0 and redis.call('ZCARD', open) >= most_open then
  return {'refused', 'requests_in_flight', 1000000}
end
-- One time for each tenant: when all of its images are paid for, at so many a minute. It may be up to a
-- minute ahead; an allowance that is untouched does for any request.
local paid = math.max(created, tonumber(redis.call('GET', images) or 0))
local cost_us = images_a_minute > 0 and inputs * MINUTE_US / images_a_minute or 0
local early_us = paid + math.min(cost_us, MINUTE_US) - created - MINUTE_US
if cost_us > 0 and early_us > 0 then
  return {'refused', 'images_per_minute', math.ceil(early_us)}
end
local asked_bytes = #request
for input = FIRST_INPUT, #ARGV do
  asked_bytes = asked_bytes + #ARGV[input]
end
if most_stored > 0 then
  local bytes, next_us = stored(tenant, created)
  if asked_bytes > most_stored then
    return {'refused', 'stored_bytes', 0}
  end
  if bytes + asked_bytes > most_stored then
    return {'refused', 'stored_bytes', integer(math.max((next_us or created) - created, 1000000))}
  end
end
if most_waiting > 0 then
  local before = 0
  for _, waits in ipairs({ready_key(pool), ready_key(lasting_queue(pool)), jobs_key(pool)}) do
    before = before + redis.call('ZCARD', waits)
  end
  if before >= most_waiting then
    return {'refused', 'waiting', 2000000}
  end
end

-- Another explanation that answers the same question, or will, if there is one.
local function find_source()
  local source = question ~= '' and redis.call('GET', question_key(tenant, question))
  local found = source and redis.call('HMGET', record_key(source), 'state', 'end_time')
  if not found or not found[1] then
    return nil
  end
  if is_open(found[1]) or has_answer(source) and found[2] + max_age_us >= created then
    return source, found[1]
  end
end

if cost_us > 0 then
  redis.call('SET', images, integer(paid + cost_us), 'PX', integer((paid + cost_us - created) / 1000 + 1))
end
redis.call('HSET', key, 'request', request, 'request_id', request_id, 'state', PENDING, 'error', '',
  'tenant', tenant, 'pool', pool, 'queue', queue, 'model', model, 'weights', weights, 'group', group,
  'sequence', 0, 'methods', methods,
  'open', methods, 'inputs', inputs, 'create_time', integer(created), 'deadline', integer(created + timeout_us),
  'expire_time', integer(expires), 'explain:state', PENDING, 'explain:attempt', 0)
if most_stored > 0 then
  redis.call('HSET', key, 'metered', 1)
  store_bytes(id, asked_bytes)
end
for method = 0, methods - 1 do
  redis.call('HSET', key, method .. ':state', PENDING, method .. ':attempt', 0)
end
keep(key, expires)
for input = 0, inputs - 1 do
  local input_key = key .. ':input:' .. integer(input)
  redis.call('SET', input_key, ARGV[FIRST_INPUT + input])
  keep(input_key, expires)
end
if request_id ~= '' then
  redis.call('SET', used_key, id .. ' ' .. hash)
  keep(used_key, expires)
end
redis.call('ZADD', index_key(tenant), integer(created), id)
keep_longer(index_key(tenant), expires)
-- Nobody knows it yet, and so nobody is told.
add_event(id, 'kind', 'state', 'state', PENDING, 'error', '')
local source, source_state = find_source()
if source_state == SUCCEEDED then
  answer_as(id, source)
  return {'reused', id, 0, answer(id)}
end
redis.call('ZADD', open, integer(deadline), id)
keep_longer(open, deadline)
redis.call('ZADD', PREFIX .. 'deadlines', integer(deadline), id)
if waiting ~= '' then
  redis.call('HSET', key, 'waiting', waiting)
end
if source then
  follow(id, source)
  return {'created', id, 0}
end
if question ~= '' then
  redis.call('SET', question_key(tenant, question), id)
  keep(question_key(tenant, question), expires)
end
ready(id)
lease(id, 'explain', LEASE_US)
return {'created', id, redis.call('ZCARD', group_key(queue, group)) == 1 and 1 or 0}
