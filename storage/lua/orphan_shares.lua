-- orphan_shares: give some miners' shares of an orphan to the round that is going
-- on, each once: the field that says how many goes in the same step. Shares may be
-- beyond 2^53, so nothing is computed here.
-- KEYS[1] plans   KEYS[2] round   KEYS[3] current round   KEYS[4] stats
-- ARGV[1] block   ARGV[2] plan   ARGV[3...] logins
local bad = wrongtype('hash', unpack(KEYS)) or begun(KEYS[1], ARGV[1], ARGV[2])
if bad then return conflict(bad) end
for i = 3, #ARGV do
  local shares = redis.call('HGET', KEYS[2], ARGV[i])
  if shares then
    local sum = redis.pcall('HINCRBY', KEYS[3], ARGV[i], shares)
    if type(sum) == 'table' then
      return conflict(KEYS[2] .. ' field ' .. ARGV[i] .. ' = ' .. shares .. ': ' .. sum.err)
    end
    redis.call('HDEL', KEYS[2], ARGV[i])
    redis.pcall('HINCRBY', KEYS[4], 'roundShares', shares) -- a statistic
  end
end
return {'OK', ''}
