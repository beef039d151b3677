-- reject: mark a recipient that does not accept payments, or clear the mark.
-- KEYS[3] rejects   ARGV[3] login   ARGV[4] why, or '' to clear
if ARGV[4] == '' then redis.call('HDEL', KEYS[3], ARGV[3]) else redis.call('HSET', KEYS[3], ARGV[3], ARGV[4]) end
return {'OK', step, ''}
