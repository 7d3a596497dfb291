local worker, alive_ms, card = ARGV[1], ARGV[2], ARGV[3]
local key = PREFIX .. 'worker:' .. worker
if card ~= '' then
  redis.call('SET', key, card, 'PX', alive_ms)
elseif redis.call('PEXPIRE', key, alive_ms) == 0 then
  return 0
end
redis.call('ZADD', PREFIX .. 'workers', integer(now_us() / 1000 + alive_ms), worker)
return 1
