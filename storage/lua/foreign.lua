-- foreign: a transaction that is not ours used up a nonce.
-- KEYS[3] nonces   KEYS[4] strays
-- ARGV[3] nonce   ARGV[4] its hash   ARGV[5] the payment whose the nonce was and that
-- was made with another one, or ''   ARGV[6] to whom it moved something, or ''
local bad = wrongtype('hash', KEYS[3], KEYS[4])
local next = redis.call('HGET', KEYS[2], 'nextNonce') or ''
if not shannon(next) then bad = bad or KEYS[2] .. ' field nextNonce is not a nonce' end
if bad then return refuse('CONFLICT', bad) end
local bound = redis.call('HGET', KEYS[3], ARGV[3]) or ''
local value = 'foreign:' .. ARGV[4]
if bound == value and (redis.call('HGET', KEYS[4], ARGV[4]) or '') == ARGV[6] then return refuse('ALREADY') end
if bound ~= '' and bound ~= value and bound ~= ARGV[5] and not string.match(bound, '^foreign:') and not string.match(bound, '^dead:') then
  return refuse('CONFLICT', 'nonce ' .. ARGV[3] .. ' is bound to ' .. bound)
end
if bound == '' and tonumber(ARGV[3]) > tonumber(next) then return refuse('CONFLICT', 'nonce ' .. ARGV[3] .. ' is beyond the next one') end
redis.call('HSET', KEYS[3], ARGV[3], value)
if ARGV[6] == '' then redis.call('HDEL', KEYS[4], ARGV[4]) else redis.call('HSET', KEYS[4], ARGV[4], ARGV[6]) end
if bound == '' and next == ARGV[3] then redis.call('HSET', KEYS[2], 'nextNonce', string.format('%d', tonumber(next) + 1)) end
return done()
