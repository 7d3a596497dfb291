-- Functions that the scripts share. KEYS[1] is the prefix of every key.
local PREFIX = KEYS[1]
local PENDING, RUNNING, SUCCEEDED, FAILED, CANCELLED, EXPIRED = '1', '2', '3', '4', '5', '6'

local script_time_us

-- One time for all that a script does.
local function now_us()
  if not script_time_us then
    local time = redis.call('TIME')
    script_time_us = time[1] * 1000000 + time[2]
  end
  return script_time_us
end

local function integer(number)
  return string.format('%.0f', number)
end

local function record_key(id)
  return PREFIX .. 'explanation:' .. id
end

local function is_open(state)
  return state == PENDING or state == RUNNING
end

-- How long a record outlives its expire time, so that its watchers see the end of it.
local GRACE_MS = 60000

local function keep(key, expire_time)
  redis.call('PEXPIREAT', key, integer(math.floor(expire_time / 1000) + GRACE_MS))
end

-- The same for a key that is about several records: it lives as long as the last of them.
local function keep_longer(key, expire_time)
  if redis.call('PTTL', key) < (expire_time - now_us()) / 1000 + GRACE_MS then
    keep(key, expire_time)
  end
end

-- What is a tenant's own: its explanations, those of them that have not ended, and its request ids.
local function index_key(tenant)
  return PREFIX .. 'index:' .. tenant
end

local function open_key(tenant)
  return PREFIX .. 'open:' .. tenant
end

local function request_key(tenant, request_id)
  return PREFIX .. 'request:' .. tenant .. ':' .. request_id
end

-- The record of an explanation, and the results of its methods.
local function answer(id)
  local key, results = record_key(id), {}
  for method = 0, redis.call('HGET', key, 'methods') - 1 do
    results[method + 1] = redis.call('GET', key .. ':result:' .. integer(method))
  end
  return {redis.call('HGETALL', key), results}
end

-- An answer of about so many bytes is sent with the ring. A server that does not keep up with what it is
-- sent would lose its connection.
local MOST_SENT_BYTES = 16384

local function is_small(id)
  local key = record_key(id)
  local bytes = redis.call('HSTRLEN', key, 'request') + redis.call('HSTRLEN', key, 'predictions')
  for method = 0, redis.call('HGET', key, 'methods') - 1 do
    bytes = bytes + redis.call('STRLEN', key .. ':result:' .. integer(method))
  end
  return bytes <= MOST_SENT_BYTES
end

-- Tells all servers that something happened: on one channel what is the end of an explanation, on
-- another all that comes before. A server where a caller waits for the end is sent the answer first.
local function ring(id, state)
  if is_open(state) then
    redis.call('PUBLISH', PREFIX .. 'doorbell:progress', id)
    return
  end
  local waiting = redis.call('HGET', record_key(id), 'waiting')
  if waiting and is_small(id) then
    redis.call('PUBLISH', PREFIX .. 'answers:' .. waiting, cmsgpack.pack({id, answer(id)}))
  end
  redis.call('PUBLISH', PREFIX .. 'doorbell', id)
end

-- Adds an event to the explanation's stream.
local function add_event(id, ...)
  local key = record_key(id)
  local sequence = redis.call('HINCRBY', key, 'sequence', 1)
  redis.call('XADD', key .. ':events', sequence .. '-0', 'time', integer(now_us()), ...)
  if sequence == 1 then
    keep(key .. ':events', redis.call('HGET', key, 'expire_time'))
  end
end

-- Adds one and rings the doorbell.
local function emit(id, ...)
  add_event(id, ...)
  ring(id, redis.call('HGET', record_key(id), 'state'))
end

-- Where the explanations of a queue wait for a worker: all of them, and those of a group, which can run
-- as one batch. Scores are turns.
local function ready_key(queue)
  return PREFIX .. 'ready:' .. queue
end

local function group_key(queue, group)
  return ready_key(queue) .. ':' .. group
end

-- The queue of explanations whose gradient work lasts; that of the others has the name of the pool.
local function lasting_queue(pool)
  return pool .. ':lasting'
end

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

-- Every open unit is leased until some time: to the worker that runs it, or to the ticket that is out
-- for it. What a worker does within the unit `explain` is under the lease of that one. When a lease
-- runs out, a server looks after the unit.
local LEASES = PREFIX .. 'leases'
local LEASE_US = 10000000

local function lease(id, unit, period_us)
  redis.call('ZADD', LEASES, integer(now_us() + period_us), id .. ' ' .. unit)
end

local function leased(id, unit)
  return redis.call('ZSCORE', LEASES, id .. ' ' .. unit)
end

local function unlease(id, unit)
  redis.call('ZREM', LEASES, id .. ' ' .. unit)
end

-- Tenants take turns: start-time fair queueing (Goyal et al., 1996). The clock of a queue is the turn of
-- what was taken from it last. What comes has the turn behind its tenant's last one, as far behind as
-- that one has inputs, but none that has passed; and keeps it for as long as it lives.
local TURNS_MS = 3600000

local function clock_key(queue)
  return PREFIX .. 'turn:' .. queue
end

local function turn(queue, id, unit)
  local key, field = record_key(id), unit .. ':turn'
  local given = redis.call('HGET', key, field)
  if given then
    return given
  end
  local record, clock = redis.call('HMGET', key, 'tenant', 'inputs'), clock_key(queue)
  local behind = PREFIX .. 'turn:of:' .. record[1] .. ':' .. queue
  local own = math.max(tonumber(redis.call('GET', clock) or 0), tonumber(redis.call('GET', behind) or 0))
  redis.call('SET', behind, integer(own + record[2]), 'PX', TURNS_MS)
  redis.call('PEXPIRE', clock, TURNS_MS)
  redis.call('HSET', key, field, integer(own))
  return integer(own)
end

local function take_turn(queue, id, unit)
  local taken, clock = redis.call('HGET', record_key(id), unit .. ':turn'), clock_key(queue)
  if taken and tonumber(taken) > tonumber(redis.call('GET', clock) or 0) then
    redis.call('SET', clock, taken, 'PX', TURNS_MS)
  end
end

-- Holds one entry while explanations wait; a worker that pops it looks for them.
local function wake_key(queue)
  return PREFIX .. 'wake:' .. queue
end

local function wake(queue)
  if redis.call('EXISTS', wake_key(queue)) == 0 then
    redis.call('LPUSH', wake_key(queue), '')
  end
end

local function ready(id)
  local record = redis.call('HMGET', record_key(id), 'queue', 'group', 'expire_time')
  local own = turn(ready_key(record[1]), id, 'explain')
  redis.call('ZADD', ready_key(record[1]), own, id)
  redis.call('ZADD', group_key(record[1], record[2]), own, id)
  keep_longer(group_key(record[1], record[2]), record[3])
  wake(record[1])
end

local function unready(id)
  local record = redis.call('HMGET', record_key(id), 'queue', 'group')
  redis.call('ZREM', ready_key(record[1]), id)
  redis.call('ZREM', group_key(record[1], record[2]), id)
  if redis.call('EXISTS', ready_key(record[1])) == 0 then
    redis.call('DEL', wake_key(record[1]))
  end
end

-- Where perturbation methods wait for a worker of their pool, each as `ID UNIT`.
local function jobs_key(pool)
  return PREFIX .. 'jobs:' .. pool
end

local function offer(id, unit)
  local queue = jobs_key(redis.call('HGET', record_key(id), 'pool'))
  redis.call('ZADD', queue, turn(queue, id, unit), id .. ' ' .. unit)
  lease(id, unit, LEASE_US)
end

local function unoffer(id, unit)
  redis.call('ZREM', jobs_key(redis.call('HGET', record_key(id), 'pool')), id .. ' ' .. unit)
end

-- Takes a pending unit for a worker; gives the attempt, or nil when there is nothing to take.
local function claim(id, unit, worker, within_explain)
  local key = record_key(id)
  local record = redis.call('HMGET', key, 'state', unit .. ':state', 'pool', 'queue')
  if not record[1] or not is_open(record[1]) or record[2] ~= PENDING then
    return nil
  end
  local attempt = redis.call('HINCRBY', key, unit .. ':attempt', 1)
  redis.call('HSET', key, unit .. ':state', RUNNING, unit .. ':worker', worker,
    unit .. ':start_time', integer(now_us()))
  if unit == 'explain' then
    unready(id)
    take_turn(ready_key(record[4]), id, unit)
    lease(id, unit, LEASE_US)
  elseif not within_explain then
    unoffer(id, unit)
    take_turn(jobs_key(record[3]), id, unit)
    lease(id, unit, LEASE_US)
  end
  if record[1] == PENDING then
    redis.call('HSET', key, 'state', RUNNING)
    emit(id, 'kind', 'state', 'state', RUNNING, 'error', '')
  end
  if unit ~= 'explain' then
    emit(id, 'kind', 'method', 'unit', unit, 'state', RUNNING, 'error', '', 'attempt', attempt)
  end
  return attempt
end

-- Puts the request, the predictions and the inputs of an explanation behind what is claimed.
local function add_content(id, claimed)
  local key = record_key(id)
  local wanted = redis.call('HMGET', key, 'request', 'predictions', 'inputs')
  claimed[#claimed + 1] = wanted[1]
  claimed[#claimed + 1] = wanted[2] or ''
  for input = 0, wanted[3] - 1 do
    claimed[#claimed + 1] = redis.call('GET', key .. ':input:' .. integer(input))
  end
  return claimed
end

-- Whether a unit runs, and this is its newest attempt.
local function holds(id, unit, attempt)
  local held = redis.call('HMGET', record_key(id), unit .. ':state', unit .. ':attempt')
  return held[1] == RUNNING and held[2] == attempt
end

-- What a later attempt at a perturbation method needs to go on where this one stops.
local function checkpoint_key(id, unit)
  return record_key(id) .. ':checkpoint:' .. unit
end

-- Who asks the same as another may have its answer: `question` names the newest that has it or works on
-- it, and those that wait for it follow it.
local function question_key(tenant, question)
  return PREFIX .. 'question:' .. tenant .. ':' .. question
end

local function followers_key(id)
  return record_key(id) .. ':followers'
end

-- Should the record of the other one be gone before it has ended, a server looks after the follower.
local function follow(id, source)
  local key, expires = followers_key(source), redis.call('HGET', record_key(source), 'expire_time')
  redis.call('SADD', key, id)
  keep(key, expires)
  lease(id, 'explain', expires - now_us() + GRACE_MS * 1000)
end

-- Whether an explanation has ended well, with the weights that it was asked of: while another version of
-- the model is rolled out, it may have been answered by that one, and is no answer to the next.
local function has_answer(id)
  local record = redis.call('HMGET', record_key(id), 'state', 'weights', 'made_with')
  return record[1] == SUCCEEDED and record[2] == record[3]
end

local function followers_of(id)
  local followers = {}
  for _, follower in ipairs(redis.call('SMEMBERS', followers_key(id))) do
    local record = redis.call('HMGET', record_key(follower), 'state', 'explain:state')
    if record[1] == PENDING and record[2] == PENDING then
      followers[#followers + 1] = follower
    end
  end
  redis.call('DEL', followers_key(id))
  return followers
end

-- Lets those that follow an explanation be worked on, as it has no answer for them.
local function release_followers(id)
  for _, follower in ipairs(followers_of(id)) do
    ready(follower)
    lease(follower, 'explain', 0)
  end
end

local function close(id, state, error)
  local key = record_key(id)
  local record = redis.call('HMGET', key, 'tenant', 'expire_time')
  unlease(id, 'explain')
  redis.call('ZREM', open_key(record[1]), id)
  redis.call('HSET', key, 'state', state, 'error', error, 'end_time', integer(now_us()))
  -- The next thing that happens to it is that it expires.
  redis.call('ZADD', PREFIX .. 'deadlines', record[2], id)
  add_event(id, 'kind', 'state', 'state', state, 'error', error)
end

local COPIED = {'attempt', 'worker', 'start_time', 'progress', 'summary'}

-- Gives an explanation of which nothing has begun the answer of another one; rings for nobody.
local function answer_as(id, source)
  local key, from = record_key(id), record_key(source)
  local made = redis.call('HMGET', from, 'predictions', 'provenance', 'methods', 'made_with')
  local expires, bytes = redis.call('HGET', key, 'expire_time'), 0
  redis.call('HSET', key, 'predictions', made[1], 'provenance', made[2], 'made_with', made[4], 'reused', 1,
    'explain:state', SUCCEEDED, 'open', 0)
  add_event(id, 'kind', 'predictions', 'payload', made[1])
  for method = 0, made[3] - 1 do
    local unit = integer(method)
    local result, names = key .. ':result:' .. unit, {}
    for index, name in ipairs(COPIED) do
      names[index] = unit .. ':' .. name
    end
    local ended = {unit .. ':state', SUCCEEDED, unit .. ':error', '', unit .. ':end_time', integer(now_us())}
    local values = redis.call('HMGET', from, unpack(names))
    for index, name in ipairs(names) do
      if values[index] then
        ended[#ended + 1] = name
        ended[#ended + 1] = values[index]
      end
    end
    redis.call('HSET', key, unpack(ended))
    redis.call('COPY', from .. ':result:' .. unit, result, 'REPLACE')
    keep(result, expires)
    bytes = bytes + redis.call('STRLEN', result)
    add_event(id, 'kind', 'method', 'unit', unit, 'state', SUCCEEDED, 'error', '', 'attempt', values[1])
  end
  store_bytes(id, bytes)
  close(id, SUCCEEDED, '')
end

local function end_whole(id, state, error)
  -- It waits again where its worker was lost, or left, when other workers had its last methods.
  if redis.call('HGET', record_key(id), 'explain:state') == PENDING then
    unready(id)
    redis.call('HSET', record_key(id), 'explain:state', state)
  end
  close(id, state, error)
  ring(id, state)
  if not has_answer(id) then
    release_followers(id)
    return
  end
  for _, follower in ipairs(followers_of(id)) do
    answer_as(follower, id)
    ring(follower, SUCCEEDED)
  end
end

local function end_method(id, unit, state, error)
  local key = record_key(id)
  unoffer(id, unit)
  unlease(id, unit)
  redis.call('DEL', checkpoint_key(id, unit))
  redis.call('HSET', key, unit .. ':state', state, unit .. ':error', error,
    unit .. ':end_time', integer(now_us()))
  local attempt = redis.call('HGET', key, unit .. ':attempt') or '0'
  emit(id, 'kind', 'method', 'unit', unit, 'state', state, 'error', error, 'attempt', attempt)
  return redis.call('HINCRBY', key, 'open', -1)
end

-- Ends everything that is unfinished; the whole gets the same state and error.
local function end_all(id, state, error)
  local key = record_key(id)
  if redis.call('HGET', key, 'explain:state') == RUNNING then
    redis.call('HSET', key, 'explain:state', state)
  end
  for method = 0, redis.call('HGET', key, 'methods') - 1 do
    if is_open(redis.call('HGET', key, method .. ':state')) then
      end_method(id, integer(method), state, error)
    end
  end
  end_whole(id, state, error)
end

local function make_pending(id, unit)
  local key = record_key(id)
  redis.call('HSET', key, unit .. ':state', PENDING)
  if unit ~= 'explain' then
    local attempt = redis.call('HGET', key, unit .. ':attempt')
    emit(id, 'kind', 'method', 'unit', unit, 'state', PENDING, 'error', '', 'attempt', attempt)
  end
end

-- For how long a unit is left alone that its worker gives back for another one to take.
local GIVE_WAY_US = 2000000

-- Takes a running unit from its worker; after a while somebody has to see to it.
local function give_back(id, unit, delay_us)
  make_pending(id, unit)
  if unit == 'explain' then
    local key = record_key(id)
    -- Should it be at fault, it takes no other with it the next time.
    redis.call('HSET', key, 'group', 'alone:' .. id)
    for method = 0, redis.call('HGET', key, 'methods') - 1 do
      local within = integer(method)
      if redis.call('HGET', key, within .. ':state') == RUNNING and not leased(id, within) then
        make_pending(id, within)
      end
    end
  end
  lease(id, unit, delay_us)
end
