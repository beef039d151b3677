-- immature_credit: credit some miners with their part of a block that is not
-- mature, each once.
-- KEYS[1] plans   KEYS[2] the block's immature credits   KEYS[3] finances   KEYS[4...] miners
-- ARGV[1] block   ARGV[2] plan   ARGV[3...] login, amount, in the miners' order
local bad = wrongtype('hash', unpack(KEYS)) or begun(KEYS[1], ARGV[1], ARGV[2])
if bad then return conflict(bad) end
local fresh, sum = {}, 0
for i = 4, #KEYS do
  local login, amount = ARGV[2 * i - 5], ARGV[2 * i - 4]
  local n = shannon(amount)
  if not n or n <= 0 then return conflict('amount ' .. amount .. ' of ' .. login .. ' is not above zero') end
  local has = redis.call('HGET', KEYS[2], login)
  if has and has ~= amount then
    return conflict(KEYS[2] .. ' field ' .. login .. ' = ' .. has .. ', want ' .. amount)
  end
  if not has then
    bad = stuck(KEYS[i], 'immature', n)
    if bad then return conflict(bad) end
    fresh[#fresh + 1] = {KEYS[i], login, amount}
    sum = sum + n
  end
end
bad = stuck(KEYS[3], 'immature', sum)
if bad then return conflict(bad) end
for _, c in ipairs(fresh) do
  if redis.call('HSETNX', KEYS[2], c[2], c[3]) == 1 then
    redis.call('HINCRBY', c[1], 'immature', c[3])
    redis.call('HINCRBY', KEYS[3], 'immature', c[3])
  end
end
return {'OK', ''}
