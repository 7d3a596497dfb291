-- Says that a worker lives. ARGV: worker, for how long it counts as alive (ms), card or "".
-- Gives 1, or 0 when the card has to be sent.
local worker, alive_ms, card = ARGV[1], ARGV[2], ARGV[3]
local key = PREFIX .. 'worker:' .. worker
if card ~= '' then
  redis.call('SET', key, card, 'PX', alive_ms)
elseif redis.call('PEXPIRE', key, alive_ms) == 0 then
  return 0
end
redis.call('ZADD', PREFIX .. 'workers', integer(now_us() / 1000 + alive_ms), worker)
return 1
