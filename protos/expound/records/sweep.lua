-- Looks after the units whose lease has run out: those of lost workers are given back, after a while.
-- ARGV: how often a unit may be lost without a checkpoint between, how often in all, how many at most.
-- Gives {id, unit, pool, 0, attempt, ""} for each that needs a ticket, and {id, unit, pool, losses in
-- all, attempt, worker} for each that was lost once too often, for the caller to end.
local max_losses, max_in_all, limit = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local found = {}

-- Up to 2 s, and up to 4 s the second time: different for those that were lost together.
local function jitter_us(id, losses)
  return tonumber(redis.sha1hex(id .. losses):sub(1, 6), 16) / 0xffffff * 2000000 * losses
end

local function look_after(id, unit)
  local key = record_key(id)
  local record = redis.call('HMGET', key, 'state', unit .. ':state', unit .. ':attempt', unit .. ':worker', 'pool')
  local whole, state, attempt, worker, pool = unpack(record)
  if not is_open(whole) or not is_open(state) then
    unlease(id, unit)
    return
  end
  local lost_in_all = 0
  if state == RUNNING then
    lost_in_all = redis.call('HINCRBY', key, unit .. ':lost_in_all', 1)
    local losses = redis.call('HINCRBY', key, unit .. ':losses', 1)
    if losses < max_losses and lost_in_all < max_in_all then
      give_back(id, unit, jitter_us(id, losses))
      return
    end
    lease(id, unit, LEASE_US)
  elseif unit == 'explain' then
    ready(id)
    lease(id, unit, LEASE_US)
  else
    offer(id, unit)
  end
  found[#found + 1] = {id, unit, pool, lost_in_all, attempt, worker or ''}
end

local due = redis.call('ZRANGEBYSCORE', LEASES, '-inf', integer(now_us()), 'LIMIT', 0, limit)
for _, member in ipairs(due) do
  look_after(member:match('^(%S+) (%S+)$'))
end
return found
