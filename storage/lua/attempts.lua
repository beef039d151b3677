-- attempts: write down the attempts of an open payment, with one more or with
-- what became known of the last.
-- KEYS[3] record   KEYS[4] hashes
-- ARGV[3] id   ARGV[4] attempts before   ARGV[5] attempts after   ARGV[6] all attempts, JSON
-- ARGV[7] hash of the last one, or ''
local _, bad = payment(KEYS[3], ARGV[3])
bad = bad or wrongtype('hash', KEYS[4]) or taken(KEYS[4], ARGV[7], ARGV[3])
if bad then return refuse('CONFLICT', bad) end
local tries = redis.call('HGET', KEYS[3], 'tries') or 'no'
if tries == ARGV[5] and redis.call('HGET', KEYS[3], 'attempts') == ARGV[6] then return refuse('ALREADY') end
if tries ~= ARGV[4] or tonumber(ARGV[5]) < tonumber(ARGV[4]) then
  return refuse('CONFLICT', 'payment ' .. ARGV[3] .. ' has ' .. tries .. ' attempts, want ' .. ARGV[4])
end
redis.call('HSET', KEYS[3], 'tries', ARGV[5], 'attempts', ARGV[6])
if ARGV[7] ~= '' then redis.call('HSET', KEYS[4], ARGV[7], ARGV[3]) end
return done()
