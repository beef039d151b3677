-- unlock: give the right back, if it is still ours.
-- KEYS[1] lock   ARGV[1] our token
-- Result: 1 when the lock was ours, else 0
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
