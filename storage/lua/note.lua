-- note: write down what the ledger knows about itself; moves no money.
-- ARGV[3...] field, value, ...   An empty value removes the field.
if #ARGV % 2 == 1 then return refuse('CONFLICT', 'field ' .. ARGV[#ARGV] .. ' has no value') end
for i = 3, #ARGV, 2 do
  if ARGV[i + 1] == '' then redis.call('HDEL', KEYS[2], ARGV[i])
  else redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1]) end
end
return {'OK', step, ''}
