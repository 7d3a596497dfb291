-- Who asks the same as another may have its answer: `question` names the newest that has it or works on
-- it, and those that wait for it follow it.
local function question_key(tenant, question)
  return PREFIX .. 'question:' .. tenant .. ':' .. question
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

-- Whether an explanation has ended well, with the weights that it was asked of: while another version of
-- the model is rolled out, it may have been answered by that one, and is no answer to the next.
local function has_answer(id)
  local record = redis.call('HMGET', record_key(id), 'state', 'weights', 'made_with')
  return record[1] == SUCCEEDED and record[2] == record[3]
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
