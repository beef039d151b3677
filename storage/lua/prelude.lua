-- What every money verb begins with. A verb reads and checks first and writes
-- last, because Lua does not roll back.
-- KEYS[1] lock   KEYS[2] meta   ARGV[1] our token   ARGV[2] the last step we know
-- Result: { code, step, detail }
--   OK        done; step is the new one
--   ALREADY   it had been done before; nothing changed
--   LOST      the lock is not ours; detail is its value
--   ROLLBACK  Redis is older than what we have seen
--   HAND      the pending row is gone: somebody worked by hand
--   CONFLICT  something else is in the way; detail says what
local held = redis.call('GET', KEYS[1]) or ''
local step = tonumber(redis.call('HGET', KEYS[2], 'step') or '0')
if held ~= ARGV[1] then return {'LOST', step, held} end
if step < tonumber(ARGV[2]) then return {'ROLLBACK', step, ''} end

local function refuse(code, detail) return {code, step, detail or ''} end
local function done() return {'OK', redis.call('HINCRBY', KEYS[2], 'step', 1), ''} end

-- shannon reads an amount exactly: whole, below 2^53, or nil.
local function shannon(text)
  if not string.match(text, '^%-?%d+$') then return nil end
  local n = tonumber(text)
  if n >= 9007199254740992 or n <= -9007199254740992 then return nil end
  return n
end

-- unsound names the first of the hash's fields that is no amount, or nil.
local function unsound(key, ...)
  for _, field in ipairs({...}) do
    if not shannon(redis.call('HGET', key, field) or '0') then return key .. ' field ' .. field .. ' is not an amount' end
  end
end

-- wrongtype names the first key that is neither absent nor a zset, or nil.
local function wrongtype(...)
  for _, key in ipairs({...}) do
    local t = redis.call('TYPE', key)
    t = t.ok or t
    if t ~= 'none' and t ~= 'zset' then return key .. ' is a ' .. t .. ', want a zset' end
  end
end

-- move takes an amount from one field of the books to another, in the miner's
-- row and in the totals alike.
local function move(miner, finances, amount, from, to)
  for _, key in ipairs({miner, finances}) do
    redis.call('HINCRBY', key, from, '-' .. amount)
    redis.call('HINCRBY', key, to, amount)
  end
end

-- sumpending adds up the amounts of the pending rows.
local function sumpending(pending)
  local sum = 0
  for _, row in ipairs(redis.call('ZRANGE', pending, 0, -1)) do
    sum = sum + (shannon(string.match(row, ':(%d+)$') or '') or 0)
  end
  return sum
end

-- settlebyhand moves pending to paid wherever the operator has not done so
-- already. rest is what stays pending in the totals for held payments besides
-- the rows; a miner has one open payment at most.
local function settlebyhand(miner, finances, pending, amount, rest)
  local n = shannon(amount)
  if shannon(redis.call('HGET', miner, 'pending') or '0') >= n then
    redis.call('HINCRBY', miner, 'pending', '-' .. amount)
    redis.call('HINCRBY', miner, 'paid', amount)
  end
  local left = sumpending(pending) + shannon(rest)
  if shannon(redis.call('HGET', finances, 'pending') or '0') - left >= n then
    redis.call('HINCRBY', finances, 'pending', '-' .. amount)
    redis.call('HINCRBY', finances, 'paid', amount)
  end
end

