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

-- shannon reads an amount exactly, in the one form that HINCRBY takes: whole,
-- without leading zeros, below 2^53; or nil.
local function shannon(text)
  if text ~= '0' and not string.match(text, '^%-?[1-9]%d*$') then return nil end
  local n = tonumber(text)
  if n >= 9007199254740992 or n <= -9007199254740992 then return nil end
  return n
end

-- wrongtype names the first key that is there and not of the type, or nil.
local function wrongtype(want, ...)
  for _, key in ipairs({...}) do
    local t = redis.call('TYPE', key)
    t = t.ok or t
    if t ~= 'none' and t ~= want then return key .. ' is a ' .. t .. ', want a ' .. want end
  end
end

local held = redis.call('GET', KEYS[1])
if held ~= ARGV[1] then return {'LOST', 0, held or ''} end
local notmeta = wrongtype('hash', KEYS[2])
if notmeta then return {'CONFLICT', 0, notmeta} end
local step = shannon(redis.call('HGET', KEYS[2], 'step') or '0')
if not step or step < 0 then return {'CONFLICT', 0, KEYS[2] .. ' field step is not a count'} end
if step < tonumber(ARGV[2]) then return {'ROLLBACK', step, ''} end

local function refuse(code, detail) return {code, step, detail or ''} end
local function done() return {'OK', redis.call('HINCRBY', KEYS[2], 'step', 1), ''} end

-- payment reads the state of a payment's record. The second result says why it
-- is not the payment that the caller means by these fields and values, or nil.
local function payment(record, id, ...)
  local bad = wrongtype('hash', record)
  if bad then return nil, bad end
  local state = redis.call('HGET', record, 'state')
  if not state then return nil, 'payment ' .. id .. ' is unknown' end
  local want = {...}
  for i = 1, #want, 2 do
    local have = redis.call('HGET', record, want[i]) or ''
    if have ~= want[i + 1] then
      return state, 'payment ' .. id .. ' has ' .. want[i] .. ' ' .. have .. ', not ' .. want[i + 1]
    end
  end
  return state
end

-- taken says that a transaction is another payment's, or nil.
local function taken(hashes, hash, id)
  local owner = redis.call('HGET', hashes, hash)
  if owner and owner ~= id then return 'transaction ' .. hash .. ' belongs to payment ' .. owner end
end

-- unmovable says why an amount cannot leave one field of the books for another,
-- or nil: in the miner's row and in the totals, both are amounts, now and then.
local function unmovable(miner, finances, amount, from, to)
  local n = shannon(amount)
  if not n or n <= 0 then return 'amount ' .. amount .. ' is not above zero' end
  local bad = wrongtype('hash', miner, finances)
  if bad then return bad end
  for _, key in ipairs({miner, finances}) do
    for _, change in ipairs({{from, -n}, {to, n}}) do
      local has = redis.call('HGET', key, change[1]) or '0'
      local was = shannon(has)
      if not was or math.abs(was + change[2]) >= 9007199254740992 then
        return key .. ' field ' .. change[1] .. ' = ' .. has .. ' cannot change by ' .. amount
      end
    end
  end
end

-- backed says whether a miner has the amount pending. When not, a person has moved it
-- already, and it is not moved again.
local function backed(miner, amount)
  return (shannon(redis.call('HGET', miner, 'pending') or '0') or 0) >= shannon(amount)
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
-- the rows; a miner has one open payment at most. What the totals had too much
-- before this ledger began stays as well. To be called after unmovable.
local function settlebyhand(miner, finances, pending, amount, rest, opening)
  local before = string.match(redis.call('HGET', opening, '*') or '', '^%-?%d+:(%-?%d+):') or '0'
  local n, left = shannon(amount), sumpending(pending) + shannon(rest) + (shannon(before) or 0)
  local own = shannon(redis.call('HGET', miner, 'pending') or '0')
  local total = shannon(redis.call('HGET', finances, 'pending') or '0')
  for _, book in ipairs({{miner, own >= n}, {finances, total - left >= n}}) do
    if book[2] then
      redis.call('HINCRBY', book[1], 'pending', '-' .. amount)
      redis.call('HINCRBY', book[1], 'paid', amount)
    end
  end
end

