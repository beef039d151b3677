-- bury: no reorg can undo these any more; their bytes are not needed.
-- KEYS[3] finals   KEYS[4...] records
-- ARGV[3...] id, number of attempts, attempts without bytes as JSON, in threes,
--         in the order of KEYS
local bad, left = wrongtype('zset', KEYS[3]), 0
for i = 4, #KEYS do
  local at = 3 + (i - 4) * 3
  local state, other = payment(KEYS[i], ARGV[at], 'tries', ARGV[at + 1])
  if state and state ~= 'final' then other = 'payment ' .. ARGV[at] .. ' is ' .. state end
  bad = bad or other
  if not bad and redis.call('ZSCORE', KEYS[3], ARGV[at]) then left = left + 1 end
end
if bad then return refuse('CONFLICT', bad) end
if left == 0 then return refuse('ALREADY') end
for i = 4, #KEYS do
  local at = 3 + (i - 4) * 3
  redis.call('HSET', KEYS[i], 'attempts', ARGV[at + 2])
  redis.call('ZREM', KEYS[3], ARGV[at])
end
return done()
