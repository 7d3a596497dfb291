-- Takes the unit `explain` of an explanation, else of the oldest that waits in the queue, and of those of
-- its group that wait. ARGV: queue, worker, id or "", then model, how many inputs it takes at once…
-- Gives a list of {id, attempt, …} with content, as `claim` gives it.
local queue, worker, first = ARGV[1], ARGV[2], ARGV[3]
local left, claimed = {}, {}
for model = 4, #ARGV, 2 do
  left[ARGV[model]] = tonumber(ARGV[model + 1])
end

local function take(id)
  local attempt = claim(id, 'explain', worker)
  if attempt then
    claimed[#claimed + 1] = add_content(id, {id, attempt})
  end
  return attempt
end

local function oldest(key)
  return redis.call('ZRANGE', key, 0, 0)[1]
end

-- The record of what waits there may be gone.
local function forget(key, id)
  redis.call('ZREM', key, id)
end

local id = first
if id == '' or redis.call('HGET', record_key(id), 'queue') ~= queue or not take(id) then
  id = oldest(ready_key(queue))
  while id and not take(id) do
    forget(ready_key(queue), id)
    id = oldest(ready_key(queue))
  end
end
if not id then
  return claimed
end
local record = redis.call('HMGET', record_key(id), 'group', 'model', 'inputs')
local group, room = group_key(queue, record[1]), (left[record[2]] or 0) - record[3]
local next_id = oldest(group)
while next_id do
  local inputs = redis.call('HGET', record_key(next_id), 'inputs')
  if inputs and tonumber(inputs) > room then
    break
  end
  if take(next_id) then
    room = room - inputs
  else
    forget(group, next_id)
  end
  next_id = oldest(group)
end
if redis.call('EXISTS', ready_key(queue)) == 1 then
  wake(queue)
end
return claimed
