-- mature_credit: move what some miners were credited with from immature to
-- balance, each once: the field that says how much goes in the same step.
-- KEYS[1] plans   KEYS[2] the block's immature credits   KEYS[3] its credits
-- KEYS[4] finances   KEYS[5...] miners
-- ARGV[1] block   ARGV[2] plan   ARGV[3...] logins, in the miners' order
local bad = wrongtype('hash', unpack(KEYS)) or begun(KEYS[1], ARGV[1], ARGV[2])
if bad then return conflict(bad) end
local due, sum = {}, 0
for i = 5, #KEYS do
  local login = ARGV[i - 2]
  local amount = redis.call('HGET', KEYS[2], login)
  if amount then
    local n = shannon(amount)
    if not n or n < 0 then return conflict(KEYS[2] .. ' field ' .. login .. ' = ' .. amount .. ', want Shannon') end
    if redis.call('HEXISTS', KEYS[3], login) == 1 then
      return conflict(KEYS[3] .. ' has ' .. login .. ' already')
    end
    bad = stuck(KEYS[i], 'immature', -n) or stuck(KEYS[i], 'balance', n)
    if bad then return conflict(bad) end
    due[#due + 1] = {KEYS[i], login, amount}
    sum = sum + n
  end
end
bad = stuck(KEYS[4], 'immature', -sum) or stuck(KEYS[4], 'balance', sum)
if bad then return conflict(bad) end
for _, d in ipairs(due) do
  if redis.call('HSETNX', KEYS[3], d[2], d[3]) == 1 then
    for _, key in ipairs(d[3] ~= '0' and {d[1], KEYS[4]} or {}) do -- older pools write zeros
      redis.call('HINCRBY', key, 'immature', '-' .. d[3])
      redis.call('HINCRBY', key, 'balance', d[3])
    end
    redis.call('HDEL', KEYS[2], d[2])
  end
end
return {'OK', ''}
