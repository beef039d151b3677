-- hold: the pending row was removed by hand and nothing was written down; or it
-- was put back (ARGV[4] 'signed').
-- KEYS[3] record   KEYS[4] pending
-- ARGV[3] id   ARGV[4] 'held' or 'signed'   ARGV[5] pending row   ARGV[6] why
local state = redis.call('HGET', KEYS[3], 'state')
if state == ARGV[4] then return refuse('ALREADY') end
if state ~= 'signed' and state ~= 'held' then
  return refuse('CONFLICT', 'payment ' .. ARGV[3] .. ' is ' .. (state or 'unknown'))
end
local row = redis.call('ZSCORE', KEYS[4], ARGV[5])
if (ARGV[4] == 'held') == (row ~= false) then return refuse('CONFLICT', 'pending row ' .. ARGV[5] .. ' changed meanwhile') end
redis.call('HSET', KEYS[3], 'state', ARGV[4], 'why', ARGV[6])
return done()
