-- Gives the cards of the workers that live. No ARGV.
local workers = PREFIX .. 'workers'
redis.call('ZREMRANGEBYSCORE', workers, '-inf', integer(now_us() / 1000))
local cards = {}
for _, worker in ipairs(redis.call('ZRANGE', workers, 0, -1)) do
  cards[#cards + 1] = redis.call('GET', PREFIX .. 'worker:' .. worker) or nil
end
return cards
