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
