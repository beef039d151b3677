-- extranonce: keep the prefixes that are ours, and take one more if asked to.
-- KEYS[1] extranonces
-- ARGV[1] proxy   ARGV[2] seconds that a prefix is kept   ARGV[3] '1' to take one more
-- ARGV[4] where to begin to look, 0 to 255   ARGV[5...] the prefixes we believe to have
-- Result: { prefix taken or -1, prefixes that are somebody else's by now ... }
-- The proxies' own clocks may differ by more than a prefix is kept.
local now = tonumber(redis.call('TIME')[1])
local mine, result = ARGV[1] .. ':' .. string.format('%.0f', now + ARGV[2]), {-1}
local function free(prefix)
  local owner, expiry = string.match(redis.call('HGET', KEYS[1], prefix) or '', '^(.*):(%d+)$')
  return not owner or owner == ARGV[1] or tonumber(expiry) < now
end
local have = {}
for i = 5, #ARGV do
  if free(ARGV[i]) then redis.call('HSET', KEYS[1], ARGV[i], mine) else result[#result + 1] = tonumber(ARGV[i]) end
  have[tonumber(ARGV[i])] = true
end
if ARGV[3] == '1' then
  for i = 0, 255 do
    local prefix = (tonumber(ARGV[4]) + i) % 256
    if not have[prefix] and free(prefix) then
      redis.call('HSET', KEYS[1], prefix, mine)
      result[1] = prefix
      break
    end
  end
end
return result
