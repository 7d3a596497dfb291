-- Puts predictions in place of those of another version of the model, and drops the checkpoints that were
-- made with it. ARGV: id, unit, attempt, predictions, provenance, their weights, as
-- `expound.records.weights` names them.
-- Gives 1, 0 when the unit is not this attempt's any more, or is given back as another unit runs, or -1
-- where a method has ended already.
local id, unit, attempt = ARGV[1], ARGV[2], ARGV[3]
local payload, provenance, made_with = ARGV[4], ARGV[5], ARGV[6]
if not holds(id, unit, attempt) then
  return 0
end
local key, elsewhere = record_key(id), false
if unit ~= 'explain' then
  elsewhere = redis.call('HGET', key, 'explain:state') == RUNNING
end
for method = 0, redis.call('HGET', key, 'methods') - 1 do
  local other = integer(method)
  local state = redis.call('HGET', key, other .. ':state')
  if not is_open(state) then
    return -1
  end
  elsewhere = elsewhere or (other ~= unit and state == RUNNING)
end
if elsewhere then
  -- One of two that come upon this together gives way to the other.
  give_back(id, unit, GIVE_WAY_US)
  return 0
end
for method = 0, redis.call('HGET', key, 'methods') - 1 do
  redis.call('DEL', checkpoint_key(id, integer(method)))
end
redis.call('HSET', key, 'predictions', payload, 'provenance', provenance, 'made_with', made_with)
emit(id, 'kind', 'predictions', 'payload', payload)
return 1
