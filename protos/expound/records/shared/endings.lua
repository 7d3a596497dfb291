-- The end of a method, and of an explanation: by its own work, or by the answer of another one.

local function close(id, state, error)
  local key = record_key(id)
  local record = redis.call('HMGET', key, 'tenant', 'expire_time')
  unlease(id, 'explain')
  unask(id)
  redis.call('ZREM', open_key(record[1]), id)
  redis.call('HSET', key, 'state', state, 'error', error, 'end_time', integer(now_us()))
  -- The next thing that happens to it is that it expires.
  redis.call('ZADD', PREFIX .. 'deadlines', record[2], id)
  add_event(id, 'kind', 'state', 'state', state, 'error', error)
end

local COPIED = {'attempt', 'worker', 'start_time', 'end_time', 'progress', 'summary'}

-- Ends a method that nobody has begun with the result of another one, {ID, UNIT}; gives how many are
-- still open. Rings for nobody.
local function end_method_as(id, unit, source)
  local key, from, from_unit = record_key(id), record_key(source[1]), source[2]
  local result, names = key .. ':result:' .. unit, {}
  for index, name in ipairs(COPIED) do
    names[index] = from_unit .. ':' .. name
  end
  local ended = {unit .. ':state', SUCCEEDED, unit .. ':error', '', unit .. ':reused', 1}
  local values = redis.call('HMGET', from, unpack(names))
  for index, name in ipairs(COPIED) do
    if values[index] then
      ended[#ended + 1] = unit .. ':' .. name
      ended[#ended + 1] = values[index]
    end
  end
  redis.call('HSET', key, unpack(ended))
  redis.call('COPY', from .. ':result:' .. from_unit, result, 'REPLACE')
  keep(result, redis.call('HGET', key, 'expire_time'))
  store_bytes(id, redis.call('STRLEN', result))
  add_event(id, 'kind', 'method', 'unit', unit, 'state', SUCCEEDED, 'error', '', 'attempt', values[1])
  return redis.call('HINCRBY', key, 'open', -1)
end

-- Gives an explanation of which nothing has begun the answers of other methods, a source {ID, UNIT} each
-- of its own; rings for nobody.
local function answer_as(id, sources)
  local key = record_key(id)
  local made = redis.call('HMGET', record_key(sources[1][1]), 'predictions', 'provenance', 'made_with')
  redis.call('HSET', key, 'predictions', made[1], 'provenance', made[2], 'made_with', made[3], 'reused', 1,
    'explain:state', SUCCEEDED)
  add_event(id, 'kind', 'predictions', 'payload', made[1])
  for index, source in ipairs(sources) do
    end_method_as(id, integer(index - 1), source)
  end
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
  if state ~= SUCCEEDED or not is_to_the_point(id) then
    release_followers(id)
    return
  end
  local sources = {}
  for method = 0, redis.call('HGET', record_key(id), 'methods') - 1 do
    sources[method + 1] = {id, integer(method)}
  end
  for _, follower in ipairs(followers_of(id)) do
    answer_as(follower, sources)
    ring(follower, SUCCEEDED)
  end
end

-- Ends an explanation of which all methods have ended.
local function end_by_methods(id)
  local key = record_key(id)
  for method = 0, redis.call('HGET', key, 'methods') - 1 do
    if redis.call('HGET', key, method .. ':state') == FAILED then
      end_whole(id, FAILED, redis.call('HGET', key, method .. ':error'))
      return
    end
  end
  end_whole(id, SUCCEEDED, '')
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
