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
