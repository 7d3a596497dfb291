-- States, times and keys. KEYS[1] is the prefix of every key.
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
