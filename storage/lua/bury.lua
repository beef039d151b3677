-- bury: no reorg can undo these any more; their bytes are not needed.
-- KEYS[3] finals   KEYS[4...] records
-- ARGV[3...] id, attempts without bytes as JSON, in pairs, in the order of KEYS
for i = 4, #KEYS do
  local id, attempts = ARGV[3 + (i - 4) * 2], ARGV[4 + (i - 4) * 2]
  redis.call('HSET', KEYS[i], 'attempts', attempts)
  redis.call('ZREM', KEYS[3], id)
end
return done()
