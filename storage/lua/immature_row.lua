-- immature_row: all credits of a block are made, or it has none: move its row to
-- the immature ones, or to another place among them.
-- KEYS[1] rows to move from   KEYS[2] immature rows   KEYS[3] plans   KEYS[4] splits
-- KEYS[5] the round as it is named   KEYS[6] as it is going to be named
-- KEYS[7] the block's immature credits
-- ARGV[1] row   ARGV[2] row as it will be   ARGV[3] block   ARGV[4] plan
-- ARGV[5] height   ARGV[6] how many are credited
-- ARGV[7] field of the split, or ''   ARGV[8] split   ARGV[9] field of the split that is void, or ''
local bad = wrongtype('zset', KEYS[1], KEYS[2]) or wrongtype('hash', unpack(KEYS, 3))
if bad then return conflict(bad) end
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then
  if redis.call('ZSCORE', KEYS[2], ARGV[2]) then return {'ALREADY', ''} end
  return conflict(KEYS[1] .. ' has no row ' .. ARGV[1])
end
bad = begun(KEYS[3], ARGV[3], ARGV[4])
if bad then return conflict(bad) end
local credited = redis.call('HLEN', KEYS[7])
if credited ~= tonumber(ARGV[6]) then
  return conflict(KEYS[7] .. ' has ' .. credited .. ' miners, want ' .. ARGV[6])
end
if KEYS[5] ~= KEYS[6] and redis.call('EXISTS', KEYS[5]) == 1 then
  if redis.call('EXISTS', KEYS[6]) == 1 then return conflict(KEYS[6] .. ' is there already') end
  redis.call('RENAME', KEYS[5], KEYS[6])
end
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('ZADD', KEYS[2], ARGV[5], ARGV[2])
if ARGV[9] ~= '' then redis.call('HDEL', KEYS[4], ARGV[9]) end
if ARGV[7] ~= '' then redis.call('HSET', KEYS[4], ARGV[7], ARGV[8]) end
redis.call('HDEL', KEYS[3], ARGV[3])
return {'OK', ''}
