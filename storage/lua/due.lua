-- due: look at some miners and return those whose balance is high enough, so
-- that the many who are not due never leave Redis. Writes nothing.
-- ARGV[1] cursor   ARGV[2] pattern of the miners' keys   ARGV[3] how many keys to look at   ARGV[4] least balance
-- Result: { next cursor, { key, balance, ... }, { key that cannot be read, ... } }
local page = redis.call('SCAN', ARGV[1], 'MATCH', ARGV[2], 'COUNT', ARGV[3])
local least, due, bad = tonumber(ARGV[4]), {}, {}

local function shannon(text)
  if not text then return 0 end
  local n = string.match(text, '^%-?%d+$') and tonumber(text)
  return n and n < 9007199254740992 and n > -9007199254740992 and n
end

for _, key in ipairs(page[2]) do
  local balance = redis.pcall('HGET', key, 'balance')
  local n = type(balance) ~= 'table' and shannon(balance)
  if n and n >= least and n > 0 then
    -- The rest of a due miner's row must be sound as well.
    local rest = redis.call('HMGET', key, 'pending', 'paid', 'immature')
    for i = 1, 3 do n = n and shannon(rest[i]) and n end
    if n then
      due[#due + 1] = key
      due[#due + 1] = balance
    end
  end
  if not n then bad[#bad + 1] = key end
end
return {page[1], due, bad}
