-- init: bind the ledger to a chain and an account, once; or to another account
-- when nothing of the old one is open.
-- KEYS[3] inflight
-- ARGV[3] chain id   ARGV[4] genesis   ARGV[5] account   ARGV[6] first nonce   ARGV[7] next nonce   ARGV[8] unix time
local bad = wrongtype('zset', KEYS[3])
if bad then return refuse('CONFLICT', bad) end
local chain = redis.call('HGET', KEYS[2], 'chainId')
local account = redis.call('HGET', KEYS[2], 'account')
if chain and (chain ~= ARGV[3] or redis.call('HGET', KEYS[2], 'genesis') ~= ARGV[4]) then
  return refuse('CONFLICT', 'the ledger belongs to chain ' .. chain)
end
if account == ARGV[5] then return refuse('ALREADY') end
if account and redis.call('ZCARD', KEYS[3]) > 0 then
  return refuse('CONFLICT', 'account ' .. account .. ' still has open payments')
end
redis.call('HSET', KEYS[2], 'chainId', ARGV[3], 'genesis', ARGV[4], 'account', ARGV[5],
  'firstNonce', ARGV[6], 'nextNonce', ARGV[7], 'since', ARGV[8])
redis.call('HDEL', KEYS[2], 'settledNonce')
return done()
