local id, request_id, hash, request = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local timeout_us, ttl_us, methods = ARGV[5], ARGV[6], ARGV[7]
local pool, model, group = ARGV[8], ARGV[9], ARGV[10]
local FIRST_INPUT = 11

local request_key = PREFIX .. 'request:' .. request_id
if request_id ~= '' then
  local used = redis.call('GET', request_key)
  if used then
    local used_id, used_hash = used:match('^(%S+) (%S+)$')
    if redis.call('EXISTS', record_key(used_id)) == 1 then
      return {used_hash == hash and 'existing' or 'conflict', used_id, 0}
    end
  end
end

local key = record_key(id)
local created = now_us()
local expires = created + ttl_us
local deadline = created + timeout_us
local inputs = #ARGV - FIRST_INPUT + 1
redis.call('HSET', key, 'request', request, 'request_id', request_id, 'state', PENDING, 'error', '',
  'pool', pool, 'model', model, 'group', group, 'sequence', 0, 'methods', methods, 'open', methods,
  'inputs', inputs, 'create_time', integer(created), 'deadline', integer(deadline), 'expire_time', integer(expires),
  'explain:state', PENDING, 'explain:attempt', 0)
for method = 0, methods - 1 do
  redis.call('HSET', key, method .. ':state', PENDING, method .. ':attempt', 0)
end
keep(key, expires)
for input = 0, inputs - 1 do
  local input_key = key .. ':input:' .. integer(input)
  redis.call('SET', input_key, ARGV[FIRST_INPUT + input])
  keep(input_key, expires)
end
if request_id ~= '' then
  redis.call('SET', request_key, id .. ' ' .. hash)
  keep(request_key, expires)
end
redis.call('ZADD', PREFIX .. 'index', integer(created), id)
redis.call('ZADD', PREFIX .. 'deadlines', integer(math.min(deadline, expires)), id)
emit(id, 'kind', 'state', 'state', PENDING, 'error', '')
ready(id)
lease(id, 'explain', LEASE_US)
local waiting = redis.call('ZCARD', group_key(pool, group))
return {'created', id, waiting == 1 and 1 or 0}
