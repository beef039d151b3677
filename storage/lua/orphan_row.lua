-- orphan_row: nothing of an orphan is left in the books: its row becomes matured.
-- KEYS[1] immature rows   KEYS[2] matured rows   KEYS[3] plans   KEYS[4] splits
-- KEYS[5] the block's immature credits   KEYS[6] round
-- ARGV[1] row   ARGV[2] row as it will be   ARGV[3] block   ARGV[4] plan   ARGV[5] height
-- ARGV[6] field of the split
local bad = wrongtype('zset', KEYS[1], KEYS[2]) or wrongtype('hash', KEYS[3], KEYS[4])
if bad then return conflict(bad) end
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then
  if redis.call('ZSCORE', KEYS[2], ARGV[2]) then return {'ALREADY', ''} end
  return conflict(KEYS[1] .. ' has no row ' .. ARGV[1])
end
bad = begun(KEYS[3], ARGV[3], ARGV[4])
if bad then return conflict(bad) end
for i = 5, 6 do
  if redis.call('EXISTS', KEYS[i]) == 1 then return conflict(KEYS[i] .. ' is not empty yet') end
end
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('ZADD', KEYS[2], ARGV[5], ARGV[2])
redis.call('HDEL', KEYS[4], ARGV[6])
redis.call('HDEL', KEYS[3], ARGV[3])
return {'OK', ''}
