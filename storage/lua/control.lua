-- control: an operator's word about payouts: write it down, and heed it. No money
-- moves, so that it needs no lock and works beside a running payouts process.
-- KEYS[1] acts   KEYS[2] holds   KEYS[3] meta
-- ARGV[1] act, JSON   ARGV[2] verb   ARGV[3] login, or ''   ARGV[4] how many acts there must be, or '' for any
-- ARGV[5] of a pause: why, never ''
-- Result: how many acts there are, or -1 when there were more or fewer
if ARGV[4] ~= '' and redis.call('LLEN', KEYS[1]) ~= tonumber(ARGV[4]) then return -1 end
if ARGV[2] == 'hold' then redis.call('HSET', KEYS[2], ARGV[3], ARGV[1])
elseif ARGV[2] == 'release' then redis.call('HDEL', KEYS[2], ARGV[3])
elseif ARGV[2] == 'pause' then redis.call('HSET', KEYS[3], 'paused', ARGV[5])
elseif ARGV[2] == 'resume' then redis.call('HDEL', KEYS[3], 'paused')
end
return redis.call('RPUSH', KEYS[1], ARGV[1])
