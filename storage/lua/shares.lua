-- shares: count a batch of shares, each once, and the batch once.
-- KEYS[1] pow   KEYS[2] current round   KEYS[3] stats   KEYS[4] this proxy's last batch   KEYS[5] the minute's work
-- KEYS[6, 7] miner and workers of login 1, KEYS[8, 9] of login 2, ...
-- ARGV[1] number of the batch   ARGV[2] unix time   ARGV[3] heights below this leave pow
-- ARGV[4] seconds that work and workers are kept
-- ARGV[5...] for each share: login's number, login, worker, difficulty, height, NONCE:HEADERHASH:MIX
-- Result: for each share '1' when it counts, '0' when it is a duplicate
local last = redis.call('GET', KEYS[4])
if last then
  local number, verdicts = string.match(last, '^(%d+):(%d*)$')
  if number == ARGV[1] then return verdicts end
end
for i, want in ipairs({'zset', 'hash', 'hash', 'string', 'hash'}) do
  local t = redis.call('TYPE', KEYS[i])
  t = t.ok or t
  if t ~= 'none' and t ~= want then return redis.error_reply(KEYS[i] .. ' is a ' .. t .. ', want a ' .. want) end
end

redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. ARGV[3])
local verdicts, rounds, works, beats, total = {}, {}, {}, {}, 0
for i = 5, #ARGV, 6 do
  local who, login, worker, difficulty = tonumber(ARGV[i]), ARGV[i + 1], ARGV[i + 2], tonumber(ARGV[i + 3])
  local fresh = redis.call('ZADD', KEYS[1], 'NX', ARGV[i + 4], ARGV[i + 5])
  verdicts[#verdicts + 1] = fresh == 1 and '1' or '0' -- a string, for concat of one number is one in some Luas
  if fresh == 1 then
    local name = login .. ':' .. worker
    rounds[login] = (rounds[login] or 0) + difficulty
    works[name] = (works[name] or 0) + difficulty
    beats[who] = beats[who] or {}
    beats[who][worker] = true
    total = total + difficulty
  end
end

local function whole(n) return string.format('%.0f', n) end
for login, sum in pairs(rounds) do redis.call('HINCRBY', KEYS[2], login, whole(sum)) end
for name, sum in pairs(works) do redis.call('HINCRBY', KEYS[5], name, whole(sum)) end
for who, workers in pairs(beats) do
  local miner, list = KEYS[4 + 2 * who], KEYS[5 + 2 * who]
  -- A row of the wrong type is somebody's mistake; the share counts all the same.
  redis.pcall('HSET', miner, 'lastShare', ARGV[2])
  for worker in pairs(workers) do redis.pcall('HSET', list, worker, ARGV[2]) end
  redis.call('EXPIRE', list, ARGV[4])
end
if total > 0 then
  redis.call('EXPIRE', KEYS[5], ARGV[4])
  redis.call('HINCRBY', KEYS[3], 'roundShares', whole(total))
end
local said = table.concat(verdicts)
redis.call('SET', KEYS[4], ARGV[1] .. ':' .. said, 'EX', 86400)
return said
