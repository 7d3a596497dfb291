-- What is told of an explanation: its events, the ring of the doorbell, and its answer.

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
