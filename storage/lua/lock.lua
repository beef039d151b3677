-- lock: take the right to change payments.
-- KEYS[1] lock
-- ARGV[1] our token   ARGV[2] the value of an owner proved to be gone, or ''
-- Result: { 'OK' } or { 'HELD', value }
local held = redis.call('GET', KEYS[1])
if held and held ~= ARGV[1] and (ARGV[2] == '' or held ~= ARGV[2]) then return {'HELD', held} end
redis.call('SET', KEYS[1], ARGV[1])
return {'OK', held or ''}
