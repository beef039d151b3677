-- What every verb about a found block begins with. It reads and checks first and
-- writes last, because Lua does not roll back.
-- Result: { code, detail }
--   OK        done, or done before where it does not matter
--   ALREADY   the row had moved before; nothing changed
--   OTHER     another plan is open for the block; detail is the plan
--   CONFLICT  something is in the way; detail says what; nothing changed

local function conflict(detail) return {'CONFLICT', detail} end

-- shannon reads an amount exactly, in the one form that HINCRBY takes: whole,
-- without leading zeros, below 2^53; or nil.
local function shannon(text)
  if text ~= '0' and not string.match(text, '^%-?[1-9]%d*$') then return nil end
  local n = tonumber(text)
  if n >= 9007199254740992 or n <= -9007199254740992 then return nil end
  return n
end

local function text(n) return string.format('%.0f', n) end

-- wrongtype names the first key that is there and not of the type, or nil.
local function wrongtype(want, ...)
  for _, key in ipairs({...}) do
    local t = redis.call('TYPE', key)
    t = t.ok or t
    if t ~= 'none' and t ~= want then return key .. ' is a ' .. t .. ', want a ' .. want end
  end
end

-- stuck says why a field of the books cannot change by n, or nil.
local function stuck(key, field, n)
  local has = redis.call('HGET', key, field) or '0'
  local was = shannon(has)
  if not was or math.abs(was + n) >= 9007199254740992 then
    return key .. ' field ' .. field .. ' = ' .. has .. ' cannot change by ' .. text(n)
  end
end

-- begun says why the block is not at the plan, or nil. A plan is there only while
-- the block's row has not moved.
local function begun(plans, id, plan)
  local open = redis.call('HGET', plans, id) or ''
  if open ~= plan then
    return plans .. ' field ' .. id .. ' = "' .. open .. '", want "' .. plan .. '"'
  end
end
