-- Accepts a request. ARGV: what is asked for, as MessagePack of a map, the request, and its inputs…
-- The map has
--   id, request_id ("" for none), hash (of the request), tenant, model, pool, methods (how many)
--   timeout_us, ttl_us
--   group      what it can run with as one batch; "" for one that runs alone
--   lasting    whether its gradient work lasts
--   weights    what it is asked of, as `expound.records.weights` names it
--   question   digest of what it asks; "" for one that is to be worked on anew
--   max_reuse_age_us   how old an answer to the question may be
--   waiting    the server where its caller waits; "" where none does
--   max_waiting   how much may wait in the pool; 0 for any
--   requests_in_flight, images_per_minute, stored_bytes   limits of the tenant; 0 for none
-- Gives
--   {"created", id, 1}, or 0 for 1 where it needs no ticket: the one of its group that waits does for it
--     too, or it waits for another's answer
--   {"reused", id, 0, {HASH, RESULTS}} when it has got an answer
--   {"existing", id, 0} or {"conflict", id, 0} of the request that used the request id before
--   {"refused", limit, µs} with the limit, as it is called above, or "waiting"; and after how long to
--     try again, 0 for never
local asked, request = cmsgpack.unpack(ARGV[1]), ARGV[2]
local FIRST_INPUT = 3
local MINUTE_US = 60000000

local id, tenant = asked.id, asked.tenant
local key, open, images = record_key(id), open_key(tenant), PREFIX .. 'images:' .. tenant
local used_key = request_key(tenant, asked.request_id)
local created = now_us()
local expires, deadline = created + asked.ttl_us, created + asked.timeout_us
local group = asked.group ~= '' and asked.group or 'alone:' .. id
local queue = asked.lasting and lasting_queue(asked.pool) or asked.pool
local inputs = #ARGV - FIRST_INPUT + 1

-- What the request id was used for before, if it was.
local function find_existing()
  local used = asked.request_id ~= '' and redis.call('GET', used_key)
  if used then
    local used_id, used_hash = used:match('^(%S+) (%S+)$')
    if redis.call('EXISTS', record_key(used_id)) == 1 then
      return {used_hash == asked.hash and 'existing' or 'conflict', used_id, 0}
    end
  end
end

-- One time for each tenant: when all of its images are paid for, at so many a minute. It may be up to a
-- minute ahead; an allowance that is untouched does for any request.
local paid = math.max(created, tonumber(redis.call('GET', images) or 0))
local cost_us = asked.images_per_minute > 0 and inputs * MINUTE_US / asked.images_per_minute or 0

local asked_bytes = #request
for input = FIRST_INPUT, #ARGV do
  asked_bytes = asked_bytes + #ARGV[input]
end

local function refuse_by_stored_bytes()
  local bytes, next_us = stored(tenant, created)
  if asked_bytes > asked.stored_bytes then
    return {'refused', 'stored_bytes', 0}
  end
  if bytes + asked_bytes > asked.stored_bytes then
    return {'refused', 'stored_bytes', integer(math.max((next_us or created) - created, 1000000))}
  end
end

local function count_waiting()
  local waiting = 0
  for _, waits in ipairs({ready_key(asked.pool), ready_key(lasting_queue(asked.pool)), jobs_key(asked.pool)}) do
    waiting = waiting + redis.call('ZCARD', waits)
  end
  return waiting
end

local function refuse()
  -- What is in flight is counted, never kept as a number, so that nothing that goes wrong elsewhere can
  -- use up a quota: what is past its deadline for long has ended, whether or not anybody said so.
  redis.call('ZREMRANGEBYSCORE', open, '-inf', integer(created - GRACE_MS * 1000))
  if asked.requests_in_flight > 0 and redis.call('ZCARD', open) >= asked.requests_in_flight then
    return {'refused', 'requests_in_flight', 1000000}
  end
  local early_us = paid + math.min(cost_us, MINUTE_US) - created - MINUTE_US
  if cost_us > 0 and early_us > 0 then
    return {'refused', 'images_per_minute', math.ceil(early_us)}
  end
  local refused = asked.stored_bytes > 0 and refuse_by_stored_bytes()
  if refused then
    return refused
  end
  if asked.max_waiting > 0 and count_waiting() >= asked.max_waiting then
    return {'refused', 'waiting', 2000000}
  end
end

local function store()
  if cost_us > 0 then
    redis.call('SET', images, integer(paid + cost_us), 'PX', integer((paid + cost_us - created) / 1000 + 1))
  end
  redis.call('HSET', key, 'request', request, 'request_id', asked.request_id, 'state', PENDING, 'error', '',
    'tenant', tenant, 'pool', asked.pool, 'queue', queue, 'model', asked.model, 'weights', asked.weights,
    'group', group, 'sequence', 0, 'methods', asked.methods, 'open', asked.methods, 'inputs', inputs,
    'create_time', integer(created), 'deadline', integer(deadline), 'expire_time', integer(expires),
    'explain:state', PENDING, 'explain:attempt', 0)
  if asked.stored_bytes > 0 then
    redis.call('HSET', key, 'metered', 1)
    store_bytes(id, asked_bytes)
  end
  for method = 0, asked.methods - 1 do
    redis.call('HSET', key, method .. ':state', PENDING, method .. ':attempt', 0)
  end
  keep(key, expires)
  for input = 0, inputs - 1 do
    local input_key = key .. ':input:' .. integer(input)
    redis.call('SET', input_key, ARGV[FIRST_INPUT + input])
    keep(input_key, expires)
  end
  if asked.request_id ~= '' then
    redis.call('SET', used_key, id .. ' ' .. asked.hash)
    keep(used_key, expires)
  end
  redis.call('ZADD', index_key(tenant), integer(created), id)
  keep_longer(index_key(tenant), expires)
  -- Nobody knows it yet, and so nobody is told.
  add_event(id, 'kind', 'state', 'state', PENDING, 'error', '')
end

-- Another explanation that answers the same question, or will, if there is one.
local function find_source()
  local source = asked.question ~= '' and redis.call('GET', question_key(tenant, asked.question))
  local found = source and redis.call('HMGET', record_key(source), 'state', 'end_time')
  if not found or not found[1] then
    return nil
  end
  if is_open(found[1]) or has_answer(source) and found[2] + asked.max_reuse_age_us >= created then
    return source, found[1]
  end
end

local existing = find_existing()
if existing then
  return existing
end
local refused = refuse()
if refused then
  return refused
end
store()
local source, source_state = find_source()
if source_state == SUCCEEDED then
  answer_as(id, source)
  return {'reused', id, 0, answer(id)}
end
local ends = math.min(deadline, expires)
redis.call('ZADD', open, integer(ends), id)
keep_longer(open, ends)
redis.call('ZADD', PREFIX .. 'deadlines', integer(ends), id)
if asked.waiting ~= '' then
  redis.call('HSET', key, 'waiting', asked.waiting)
end
if source then
  follow(id, source)
  return {'created', id, 0}
end
if asked.question ~= '' then
  redis.call('HSET', key, 'question', asked.question)
  redis.call('SET', question_key(tenant, asked.question), id)
  keep(question_key(tenant, asked.question), expires)
end
ready(id)
lease(id, 'explain', LEASE_US)
return {'created', id, redis.call('ZCARD', group_key(queue, group)) == 1 and 1 or 0}
