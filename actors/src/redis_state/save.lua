-- Writes a delta of a checkpoint: all of it with its meta, or nothing. It goes onto the checkpoint whose number is one
-- lower, or once more onto itself.
--
-- KEYS[1]  the meta   KEYS[2]  the live sessions   KEYS[3]  the passive ones
-- ARGV[1]  the epoch   ARGV[2]  the meta as JSON   ARGV[3]  its number
-- ARGV[4..6]  how many blocks of live, passivated, forgotten follow
-- then the blocks: names and sessions, one behind the other, each with its length before it (u16 for a name, u32 for a
-- session, little-endian; a forgotten one has no session). A block for many, because the arguments of a call are limited.
-- Answers  {'saved'} | {'version', v} | {'fenced', epoch} | {'rolled_back', number, stored number}
local call, unpacked = redis.call, struct.unpack
local stored = call('HMGET', KEYS[1], 'v', 'epoch', 'n')
if stored[1] and stored[1] ~= '1' then return {'version', stored[1]} end
if stored[2] and tonumber(stored[2]) > tonumber(ARGV[1]) then return {'fenced', stored[2]} end
local number, before = tonumber(ARGV[3]), tonumber(stored[3] or '0')
if before ~= number and before + 1 ~= number then return {'rolled_back', ARGV[3], stored[3] or '0'} end
for key = 2, 3 do
  local kind = call('TYPE', KEYS[key]).ok
  if kind ~= 'hash' and kind ~= 'none' then return redis.error_reply('WRONGTYPE ' .. KEYS[key] .. ' is no hash') end
end

-- A call takes at most some 8000 values from the stack.
local most = 2000
local function each_part(values, count, write)
  for at = 1, count, most do write(unpack(values, at, math.min(at + most - 1, count))) end
end

local function put(block, into, from)
  local pairs, names, p, n, at, size = {}, {}, 0, 0, 1, #block
  while at <= size do
    local name, session
    name, session, at = unpacked('<I2c0I4c0', block, at)
    pairs[p + 1], pairs[p + 2], names[n + 1] = name, session, name
    p, n = p + 2, n + 1
  end
  each_part(pairs, p, function(...) call('HSET', into, ...) end)
  if call('EXISTS', from) == 1 then each_part(names, n, function(...) call('HDEL', from, ...) end) end
end

local function forget(block)
  local names, n, at, size = {}, 0, 1, #block
  while at <= size do
    names[n + 1], at = unpacked('<I2c0', block, at)
    n = n + 1
  end
  for key = 2, 3 do each_part(names, n, function(...) call('HDEL', KEYS[key], ...) end) end
end

local live_to = 6 + tonumber(ARGV[4])
local passivated_to = live_to + tonumber(ARGV[5])
local forgotten_to = passivated_to + tonumber(ARGV[6])
for block = 7, live_to do put(ARGV[block], KEYS[2], KEYS[3]) end
for block = live_to + 1, passivated_to do put(ARGV[block], KEYS[3], KEYS[2]) end
for block = passivated_to + 1, forgotten_to do forget(ARGV[block]) end
call('HSET', KEYS[1], 'v', '1', 'epoch', ARGV[1], 'n', ARGV[3], 'meta', ARGV[2])
return {'saved'}
