-- reject: mark a recipient that does not accept payments, or clear the mark.
-- KEYS[3] rejects   ARGV[3] login   ARGV[4] why, or '' to clear
local bad = wrongtype('hash', KEYS[3])
if bad then return refuse('CONFLICT', bad) end
if ARGV[4] == '' then redis.call('HDEL', KEYS[3], ARGV[3]) else redis.call('HSET', KEYS[3], ARGV[3], ARGV[4]) end
return {'OK', step, ''}
