-- Accepts a request. ARGV: what is asked for, as MessagePack of a map, the request, and its inputs…
-- The map has
--   id, request_id ("" for none), hash (of the request), tenant, model, pool, methods (how many)
--   timeout_us, ttl_us
--   group      what it can run with as one batch; "" for one that runs alone
--   lasting    whether its gradient work lasts
--   weights    what it is asked of, as `expound.records.weights` names it
--   questions  digest of what each of its methods asks; none for one that is to be worked on anew
--   max_reuse_age_us   how old an answer to these may be
--   waiting    the server where its caller waits; "" where none does
--   max_waiting   how much may wait in the pool; 0 for any
--   requests_in_flight, images_per_minute, stored_bytes   limits of the tenant; 0 for none
-- Gives
--   {"created", id, 1}, or 0 for 1 where it needs no ticket: the one of its group that waits does for it
--     too, or it waits for another's answer
--   {"reused", id, 0, {HASH, RESULTS}} when it has got the answers that there were to its questions
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
local reuse_since = created - asked.max_reuse_age_us
local group = asked.group ~= '' and asked.group or 'alone:' .. id
local question = asked.questions[1] and redis.sha1hex(table.concat(asked.questions))
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
  if question then
    redis.call('HSET', key, 'question', question, 'reuse_since', integer(reuse_since))
    for method, asks in ipairs(asked.questions) do
      redis.call('HSET', key, integer(method - 1) .. ':question', asks)
    end
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

-- The methods that have answered all of its questions; nil where one has no answer.
local function find_answers()
  local answers = {}
  for index, asks in ipairs(asked.questions) do
    answers[index] = find_answer(tenant, asks, reuse_since)
    if not answers[index] then
      return nil
    end
  end
  return answers[1] and answers
end

-- Another explanation that works on the same questions, if there is one.
local function find_source()
  local source = question and redis.call('GET', question_key(tenant, question))
  return source and is_open(redis.call('HGET', record_key(source), 'state')) and source
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
local answers = find_answers()
if answers then
  answer_as(id, answers)
  return {'reused', id, 0, answer(id)}
end
local ends = math.min(deadline, expires)
redis.call('ZADD', open, integer(ends), id)
keep_longer(open, ends)
redis.call('ZADD', PREFIX .. 'deadlines', integer(ends), id)
if asked.waiting ~= '' then
  redis.call('HSET', key, 'waiting', asked.waiting)
end
local source = find_source()
if source then
  follow(id, source)
  return {'created', id, 0}
end
if question then
  redis.call('SET', question_key(tenant, question), id)
  keep(question_key(tenant, question), expires)
end
ready(id)
lease(id, 'explain', LEASE_US)
return {'created', id, redis.call('ZCARD', group_key(queue, group)) == 1 and 1 or 0}
