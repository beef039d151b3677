-- record: a payment made by hand that the books do not know yet.
-- KEYS[3] miner   KEYS[4] finances   KEYS[5] all   KEYS[6] miner's payments   KEYS[7] hashes
-- ARGV[3] login   ARGV[4] amount   ARGV[5] hash   ARGV[6] unix time
-- ARGV[7] '1' only asks whether it could be   ARGV[8] a payment that has the
-- transaction among its attempts and was not made by it, or ''
-- ARGV[9] another row of the history with the transaction, or ''; ARGV[10] how many
-- rows the history had before that was looked for
local row = ARGV[5] .. ':' .. ARGV[3] .. ':' .. ARGV[4]
local bad = wrongtype('zset', KEYS[5], KEYS[6]) or wrongtype('hash', KEYS[7])
if bad then return refuse('CONFLICT', bad) end
if redis.call('ZSCORE', KEYS[5], row) then return refuse('ALREADY') end
bad = taken(KEYS[7], ARGV[5], 'recorded')
if bad and ARGV[8] ~= '' then bad = taken(KEYS[7], ARGV[5], ARGV[8]) end
bad = bad or unmovable(KEYS[3], KEYS[4], ARGV[4], 'balance', 'paid')
if bad then return refuse('CONFLICT', bad) end
-- A transaction pays once: not somebody else, and no other amount.
if ARGV[9] ~= '' and redis.call('ZSCORE', KEYS[5], ARGV[9]) then return refuse('CONFLICT', ARGV[9] .. ' is in the history') end
if redis.call('ZCARD', KEYS[5]) ~= tonumber(ARGV[10]) then return refuse('CONFLICT', KEYS[5] .. ' has changed meanwhile; try again') end
if ARGV[7] == '1' then return refuse('OK') end
move(KEYS[3], KEYS[4], ARGV[4], 'balance', 'paid')
redis.call('ZADD', KEYS[5], ARGV[6], row)
redis.call('ZADD', KEYS[6], ARGV[6], ARGV[5] .. ':' .. ARGV[4])
redis.call('HSET', KEYS[7], ARGV[5], 'recorded')
return done()
