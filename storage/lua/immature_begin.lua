-- immature_begin: write down what is going to happen to a block's row, before the
-- first of many scripts, so that whoever finds it half done knows what to finish
-- or to undo. No money moves.
-- KEYS[1] rows to move from   KEYS[2] rows to move to   KEYS[3] plans
-- KEYS[4] the credits of the plan that is replaced, or KEYS[3] when it has none
-- KEYS[5] splits   KEYS[6] credits of the block, if it is credited   KEYS[7] its immature credits
-- ARGV[1] row   ARGV[2] row as it will be   ARGV[3] block   ARGV[4] plan
-- ARGV[5] the plan to replace, whose credits were undone, or ''
-- ARGV[6] field of the split to be, or ''   ARGV[7] of the one to be void, or ''
local bad = wrongtype('zset', KEYS[1], KEYS[2]) or wrongtype('hash', unpack(KEYS, 3))
if bad then return conflict(bad) end
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then
  if redis.call('ZSCORE', KEYS[2], ARGV[2]) then return {'ALREADY', ''} end
  return conflict(KEYS[1] .. ' has no row ' .. ARGV[1])
end
local open = redis.call('HGET', KEYS[3], ARGV[3]) or ''
-- A block is credited for one row, though a proxy may have written two.
if ARGV[6] ~= '' and ARGV[6] ~= ARGV[7] then
  if redis.call('HEXISTS', KEYS[5], ARGV[6]) == 1 or redis.call('EXISTS', KEYS[6]) == 1
    or open == '' and redis.call('EXISTS', KEYS[7]) == 1 then
    return conflict('block ' .. ARGV[6] .. ' is credited already, for another row')
  end
end
if open == ARGV[4] then return {'OK', ''} end
if open ~= ARGV[5] then return {'OTHER', open} end
if KEYS[4] ~= KEYS[3] and redis.call('EXISTS', KEYS[4]) == 1 then
  return conflict(KEYS[4] .. ' is not undone')
end
redis.call('HSET', KEYS[3], ARGV[3], ARGV[4])
return {'OK', ''}
