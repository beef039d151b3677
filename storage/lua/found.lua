-- found: write down a block that was found, once, and close its round.
-- KEYS[1] found   KEYS[2] current round   KEYS[3] the block's round   KEYS[4] candidates   KEYS[5] stats
-- KEYS[6] finders   KEYS[7] the finder's row
-- ARGV[1] HEIGHT:NONCE   ARGV[2] unix time   ARGV[3] height   ARGV[4] NONCE:HEADERHASH:MIX:TIME:DIFFICULTY
-- ARGV[5] login   ARGV[6] difficulty of his share
-- Result: 1 when it is new, 0 when it was known
for i, want in ipairs({'hash', 'hash', 'hash', 'zset', 'hash', 'zset', 'hash'}) do
  local t = redis.call('TYPE', KEYS[i])
  t = t.ok or t
  if t ~= 'none' and t ~= want then return redis.error_reply(KEYS[i] .. ' is a ' .. t .. ', want a ' .. want) end
end
if redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2]) == 0 then return 0 end
-- A block right after another may find its own share in the other's round. Then
-- its round is its finder's, for somebody must be credited.
if redis.call('EXISTS', KEYS[2]) == 0 then redis.call('HSET', KEYS[2], ARGV[5], ARGV[6]) end
local total = 0
for _, sum in ipairs(redis.call('HVALS', KEYS[2])) do total = total + (tonumber(sum) or 0) end
redis.call('RENAME', KEYS[2], KEYS[3])
redis.call('ZADD', KEYS[4], ARGV[3], ARGV[4] .. ':' .. string.format('%.0f', total))
redis.call('HDEL', KEYS[5], 'roundShares')
redis.call('HSET', KEYS[5], 'lastBlockFound', ARGV[2])
redis.call('ZINCRBY', KEYS[6], 1, ARGV[5])
redis.call('HINCRBY', KEYS[7], 'blocksFound', 1)
return 1
