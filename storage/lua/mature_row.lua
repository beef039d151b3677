-- mature_row: everybody's part of a block is on the balance: the row becomes
-- matured and the round is over.
-- KEYS[1] immature rows   KEYS[2] matured rows   KEYS[3] plans   KEYS[4] the block's immature credits
-- KEYS[5] its credits   KEYS[6] all credits   KEYS[7] finances   KEYS[8] round   KEYS[9] splits
-- ARGV[1] row   ARGV[2] row as it will be   ARGV[3] block   ARGV[4] plan   ARGV[5] height   ARGV[6] hash
-- ARGV[7] row of all credits   ARGV[8] reward in Shannon   ARGV[9] field of the split
local bad = wrongtype('zset', KEYS[1], KEYS[2], KEYS[6]) or wrongtype('hash', KEYS[3], KEYS[4], KEYS[5], KEYS[7], KEYS[8], KEYS[9])
if bad then return conflict(bad) end
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then
  if redis.call('ZSCORE', KEYS[2], ARGV[2]) then return {'ALREADY', ''} end
  return conflict(KEYS[1] .. ' has no row ' .. ARGV[1])
end
bad = begun(KEYS[3], ARGV[3], ARGV[4])
if bad then return conflict(bad) end
if redis.call('EXISTS', KEYS[4]) == 1 then return conflict(KEYS[4] .. ' is not empty yet') end
-- An older pool wrote no split.
local split = redis.call('HGET', KEYS[9], ARGV[9])
local logins = split and string.match(split, '^%d+:%d+:%d+:%d+:(%d+):')
if split and redis.call('HLEN', KEYS[5]) ~= tonumber(logins) then
  return conflict(KEYS[5] .. ' has ' .. redis.call('HLEN', KEYS[5]) .. ' miners, the split is ' .. split)
end
local mined = redis.pcall('HINCRBY', KEYS[7], 'totalMined', ARGV[8]) -- may be beyond 2^53
if type(mined) == 'table' then return conflict(KEYS[7] .. ' field totalMined: ' .. mined.err) end
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('ZADD', KEYS[2], ARGV[5], ARGV[2])
redis.call('ZADD', KEYS[6], ARGV[5], ARGV[7])
redis.call('HSET', KEYS[7], 'lastCreditHeight', ARGV[5], 'lastCreditHash', ARGV[6])
redis.call('UNLINK', KEYS[8])
redis.call('HDEL', KEYS[3], ARGV[3])
return {'OK', ''}
