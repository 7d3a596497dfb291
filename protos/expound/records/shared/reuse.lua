-- Who asks the same as another may have its answer. A question is one of a method about some inputs;
-- `answer` names the method that has answered it last. All the questions of an explanation are one too:
-- `question` names the newest that works on it, and those that wait for its answer follow it.
local function answer_key(tenant, question)
  return PREFIX .. 'answer:' .. tenant .. ':' .. question
end

local function question_key(tenant, question)
  return PREFIX .. 'question:' .. tenant .. ':' .. question
end

-- Whether an explanation was made with the weights that it was asked of: while another version of the
-- model is rolled out, it may have been answered by that one, and is no answer to the next.
local function is_to_the_point(id)
  local record = redis.call('HMGET', record_key(id), 'weights', 'made_with')
  return record[1] == record[2]
end

-- The method {ID, UNIT} that has answered a question since some time; nil for none.
local function find_answer(tenant, question, since)
  local id, unit = (redis.call('GET', answer_key(tenant, question)) or ''):match('^(%S+) (%S+)$')
  local end_time = id and redis.call('HGET', record_key(id), unit .. ':end_time')
  return end_time and tonumber(end_time) >= since and {id, unit} or nil
end

-- Lets others have the result of a method that has ended well.
local function share_answer(id, unit)
  local record = redis.call('HMGET', record_key(id), 'tenant', unit .. ':question', 'expire_time')
  if record[2] and is_to_the_point(id) then
    local key = answer_key(record[1], record[2])
    redis.call('SET', key, id .. ' ' .. unit)
    keep(key, record[3])
  end
end

-- Takes back what `share_answer` said, unless another one has answered since.
local function unshare_answer(id, unit)
  local record = redis.call('HMGET', record_key(id), 'tenant', unit .. ':question')
  local key = record[2] and answer_key(record[1], record[2])
  if key and redis.call('GET', key) == id .. ' ' .. unit then
    redis.call('DEL', key)
  end
end

local function unask(id)
  local record = redis.call('HMGET', record_key(id), 'tenant', 'question')
  local key = record[2] and question_key(record[1], record[2])
  if key and redis.call('GET', key) == id then
    redis.call('DEL', key)
  end
end

local function followers_key(id)
  return record_key(id) .. ':followers'
end

-- Should the record of the other one be gone before it has ended, a server looks after the follower.
local function follow(id, source)
  local key, expires = followers_key(source), redis.call('HGET', record_key(source), 'expire_time')
  redis.call('SADD', key, id)
  keep(key, expires)
  lease(id, 'explain', expires - now_us() + GRACE_MS * 1000)
end

local function followers_of(id)
  local followers = {}
  for _, follower in ipairs(redis.call('SMEMBERS', followers_key(id))) do
    local record = redis.call('HMGET', record_key(follower), 'state', 'explain:state')
    if record[1] == PENDING and record[2] == PENDING then
      followers[#followers + 1] = follower
    end
  end
  redis.call('DEL', followers_key(id))
  return followers
end

-- Lets those that follow an explanation be worked on, as it has no answer for them.
local function release_followers(id)
  for _, follower in ipairs(followers_of(id)) do
    ready(follower)
    lease(follower, 'explain', 0)
  end
end
