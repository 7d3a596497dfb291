-- Functions that the scripts share. KEYS[1] is the prefix of every key.
local PREFIX = KEYS[1]
local PENDING, RUNNING, SUCCEEDED, FAILED, CANCELLED, EXPIRED = '1', '2', '3', '4', '5', '6'

local function now_us()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
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

-- Tells all servers that something happened, and whether that was the end of it.
local function ring(id, state)
  redis.call('PUBLISH', PREFIX .. 'doorbell', id .. (is_open(state) and '' or ' ended'))
end

-- Adds an event to the explanation's stream and rings the doorbell.
local function emit(id, ...)
  local key = record_key(id)
  local sequence = redis.call('HINCRBY', key, 'sequence', 1)
  redis.call('XADD', key .. ':events', sequence .. '-0', 'time', integer(now_us()), ...)
  if sequence == 1 then
    keep(key .. ':events', redis.call('HGET', key, 'expire_time'))
  end
  ring(id, redis.call('HGET', key, 'state'))
end

-- Whether a unit runs, and this is its newest attempt.
local function holds(id, unit, attempt)
  local held = redis.call('HMGET', record_key(id), unit .. ':state', unit .. ':attempt')
  return held[1] == RUNNING and held[2] == attempt
end

local function end_whole(id, state, error)
  local key = record_key(id)
  redis.call('HSET', key, 'state', state, 'error', error, 'end_time', integer(now_us()))
  -- The next thing that happens to it is that it expires.
  redis.call('ZADD', PREFIX .. 'deadlines', redis.call('HGET', key, 'expire_time'), id)
  emit(id, 'kind', 'state', 'state', state, 'error', error)
end

local function end_method(id, unit, state, error)
  local key = record_key(id)
  redis.call('HSET', key, unit .. ':state', state, unit .. ':error', error,
    unit .. ':end_time', integer(now_us()))
  local attempt = redis.call('HGET', key, unit .. ':attempt') or '0'
  emit(id, 'kind', 'method', 'unit', unit, 'state', state, 'error', error, 'attempt', attempt)
  return redis.call('HINCRBY', key, 'open', -1)
end

-- Ends everything that is unfinished; the whole gets the same state and error.
local function end_all(id, state, error)
  local key = record_key(id)
  if is_open(redis.call('HGET', key, 'explain:state')) then
    redis.call('HSET', key, 'explain:state', state)
  end
  for method = 0, redis.call('HGET', key, 'methods') - 1 do
    if is_open(redis.call('HGET', key, method .. ':state')) then
      end_method(id, integer(method), state, error)
    end
  end
  end_whole(id, state, error)
end

