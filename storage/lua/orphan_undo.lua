-- orphan_undo: take immature credits of some miners back, each once: the field
-- that says how much goes in the same step.
-- KEYS[1] plans   KEYS[2] immature credits   KEYS[3] finances   KEYS[4...] miners
-- ARGV[1] block   ARGV[2] plan   ARGV[3...] logins, in the miners' order
local bad = wrongtype('hash', unpack(KEYS)) or begun(KEYS[1], ARGV[1], ARGV[2])
if bad then return conflict(bad) end
local due, sum = {}, 0
for i = 4, #KEYS do
  local login = ARGV[i - 1]
  local amount = redis.call('HGET', KEYS[2], login)
  if amount then
    local n = shannon(amount)
    if not n or n < 0 then return conflict(KEYS[2] .. ' field ' .. login .. ' = ' .. amount .. ', want Shannon') end
    bad = stuck(KEYS[i], 'immature', -n)
    if bad then return conflict(bad) end
    due[#due + 1] = {KEYS[i], login, amount}
    sum = sum + n
  end
end
bad = stuck(KEYS[3], 'immature', -sum)
if bad then return conflict(bad) end
for _, d in ipairs(due) do
  if redis.call('HDEL', KEYS[2], d[2]) == 1 and d[3] ~= '0' then -- older pools write zeros
    redis.call('HINCRBY', d[1], 'immature', '-' .. d[3])
    redis.call('HINCRBY', KEYS[3], 'immature', '-' .. d[3])
  end
end
return {'OK', ''}
