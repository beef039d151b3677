-- attempts: write down the attempts of an open payment, with one more or with
-- what became known of the last.
-- KEYS[3] record   KEYS[4] hashes
-- ARGV[3] id   ARGV[4] attempts before   ARGV[5] attempts after   ARGV[6] all attempts, JSON
-- ARGV[7] hash of the last one, or ''
local state = redis.call('HGET', KEYS[3], 'state')
if not state then return refuse('CONFLICT', 'payment ' .. ARGV[3] .. ' does not exist') end
local tries = redis.call('HGET', KEYS[3], 'tries')
local owner = ARGV[7] ~= '' and redis.call('HGET', KEYS[4], ARGV[7])
if owner and owner ~= ARGV[3] then
  return refuse('CONFLICT', 'transaction ' .. ARGV[7] .. ' belongs to payment ' .. owner)
end
if tries == ARGV[5] and redis.call('HGET', KEYS[3], 'attempts') == ARGV[6] then return refuse('ALREADY') end
if tries ~= ARGV[4] then
  return refuse('CONFLICT', 'payment ' .. ARGV[3] .. ' has ' .. tries .. ' attempts, want ' .. ARGV[4])
end
redis.call('HSET', KEYS[3], 'tries', ARGV[5], 'attempts', ARGV[6])
if ARGV[7] ~= '' then redis.call('HSET', KEYS[4], ARGV[7], ARGV[3]) end
return done()
