-- Removes an explanation. ARGV: id.
-- Gives 1, or 0 for no such explanation.
local id = ARGV[1]
local key = record_key(id)
local record = redis.call('HMGET', key, 'methods', 'inputs', 'request_id', 'tenant')
if not record[1] then
  return 0
end
release_followers(id)
unask(id)
unready(id)
unlease(id, 'explain')
local gone = {key, key .. ':events'}
for method = 0, record[1] - 1 do
  unoffer(id, integer(method))
  unlease(id, integer(method))
  unshare_answer(id, integer(method))
  gone[#gone + 1] = checkpoint_key(id, integer(method))
  gone[#gone + 1] = key .. ':result:' .. integer(method)
end
for input = 0, record[2] - 1 do
  gone[#gone + 1] = key .. ':input:' .. integer(input)
end
if record[3] ~= '' then
  gone[#gone + 1] = request_key(record[4], record[3])
end
for _, name in ipairs(gone) do
  redis.call('DEL', name)
end
unstore(record[4], id)
redis.call('ZREM', index_key(record[4]), id)
redis.call('ZREM', open_key(record[4]), id)
redis.call('ZREM', PREFIX .. 'deadlines', id)
ring(id, 'deleted')
return 1
