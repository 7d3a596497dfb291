-- Writes the predictions while `explain` runs, and ends the methods that others have answered. ARGV: id,
-- attempt, predictions, provenance, their weights, as `expound.records.weights` names them.
-- Gives 1, or 0 when `explain` is not this attempt's any more.
local id, attempt, predictions, provenance, made_with = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
if not holds(id, 'explain', attempt) then
  return 0
end
local key = record_key(id)
-- A second attempt predicts anew, but has nothing new to tell.
if redis.call('HEXISTS', key, 'predictions') == 1 then
  return 1
end
lease(id, 'explain', LEASE_US)
redis.call('HSET', key, 'predictions', predictions, 'provenance', provenance, 'made_with', made_with)
store_bytes(id, #predictions)
-- Who hears the ring looks when the script is done, and sees what ends here too.
emit(id, 'kind', 'predictions', 'payload', predictions)
local record = redis.call('HMGET', key, 'tenant', 'reuse_since', 'methods')
if not record[2] or not is_to_the_point(id) then
  return 1
end
for method = 0, record[3] - 1 do
  local unit = integer(method)
  local asked = redis.call('HMGET', key, unit .. ':state', unit .. ':question')
  local source = asked[1] == PENDING and find_answer(record[1], asked[2], tonumber(record[2]))
  if source and end_method_as(id, unit, source) == 0 then
    end_by_methods(id)
    return 1
  end
end
return 1
