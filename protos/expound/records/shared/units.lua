-- Units of work: taken, held and given back.

-- Takes a pending unit for a worker; gives the attempt, or nil when there is nothing to take.
local function claim(id, unit, worker, within_explain)
  local key = record_key(id)
  local record = redis.call('HMGET', key, 'state', unit .. ':state', 'pool', 'queue')
  if not is_open(record[1]) or record[2] ~= PENDING then
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
