-- adopt: the operator paid by hand and wrote the transaction down as the manual
-- says; it takes the place of ours.
-- KEYS[3] record   KEYS[4] miner   KEYS[5] finances   KEYS[6] pending   KEYS[7] all   KEYS[8] miner's payments   KEYS[9] hashes   KEYS[10] opening
-- ARGV[3] id   ARGV[4] login   ARGV[5] amount   ARGV[6] hash   ARGV[7] unix time
-- ARGV[8] number of attempts   ARGV[9] attempts, JSON   ARGV[10] why   ARGV[11] Shannon that stay pending for held payments
-- ARGV[12] unix time of the debit; a row written by hand is not older
-- ARGV[13] '1' when the pending row is to be taken away, if it is there
local state, bad = payment(KEYS[3], ARGV[3], 'kind', 'payment', 'login', ARGV[4], 'amount', ARGV[5])
bad = bad or wrongtype('zset', KEYS[6], KEYS[7], KEYS[8]) or wrongtype('hash', KEYS[9], KEYS[10]) or taken(KEYS[9], ARGV[6], ARGV[3])
if bad then return refuse('CONFLICT', bad) end
local shown = redis.call('HGET', KEYS[3], 'hash') or ''
if state == 'sent' and shown == ARGV[6] then return refuse('ALREADY') end
if state ~= 'signed' and state ~= 'held' then
  return refuse('CONFLICT', 'payment ' .. ARGV[3] .. ' is ' .. state)
end
local row = ARGV[4] .. ':' .. ARGV[5]
if ARGV[13] ~= '1' and redis.call('ZSCORE', KEYS[6], row) then return refuse('CONFLICT', 'pending row ' .. row .. ' exists') end
bad = unmovable(KEYS[4], KEYS[5], ARGV[5], 'pending', 'paid')
if bad then return refuse('CONFLICT', bad) end
redis.call('ZREM', KEYS[6], row)
settlebyhand(KEYS[4], KEYS[5], KEYS[6], ARGV[5], ARGV[11], KEYS[10])
-- A person may have typed the row in another letter case, or left out zeros at
-- the hash's beginning: it gives way to ours, at its time.
local function plain(text) return (string.gsub(string.lower(text), '^0x0*', '')) end
local function replace(key, ours)
  local at = ARGV[7]
  for _, typed in ipairs(redis.call('ZRANGEBYSCORE', key, ARGV[12], '+inf')) do
    if plain(typed) == plain(ours) then
      at = redis.call('ZSCORE', key, typed)
      redis.call('ZREM', key, typed)
    end
  end
  redis.call('ZADD', key, at, ours)
end
replace(KEYS[7], ARGV[6] .. ':' .. row)
replace(KEYS[8], ARGV[6] .. ':' .. ARGV[5])
redis.call('HSET', KEYS[3], 'state', 'sent', 'hash', ARGV[6], 'tries', ARGV[8], 'attempts', ARGV[9], 'why', ARGV[10])
redis.call('HSET', KEYS[9], ARGV[6], ARGV[3])
return done()
