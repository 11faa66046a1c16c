-- Applies one batch behind its guard: all of it or nothing. The order of the checks and what is written is fixed in
-- docs/formats.md, "Redis".
--
-- KEYS[1]  the guard; no key: the records have no positions, and are applied as they come
-- ARGV     1 epoch   2 history in seconds
--          3 number of topics T   4 of devices D   5 of distinct timestamps S   6 of records N
--          7 for each record 6 bytes: its device, its timestamp (little-endian, from 0)
--          8 for each record 8 bytes: where its payload begins in its message (from 1) and how long it is;
--            or 0 and the number of the payload among those that stand apart (from 0)
--          9 for each record 13 bytes: its topic (from 1; 0: no position), offset, output; empty without a guard
--          then for each topic: its id, the position previous to the batch (or nothing), the first, the last
--          then the device ids, the timestamps, the messages in the order of the log, the payloads that stand apart
-- Answers  {'applied'} | {'already'} | {'version', v} | {'fenced', epoch} | {'gap', topic, stored, previous}
--          | {'type', record (from 0), what its key is, record, …}
local call, byte, sub = redis.call, string.byte, string.sub
local guard, epoch, history = KEYS[1], ARGV[1], tonumber(ARGV[2])
local topics, devices = tonumber(ARGV[3]), tonumber(ARGV[4])
local stamps, records = tonumber(ARGV[5]), tonumber(ARGV[6])
local places, spans, positions = ARGV[7], ARGV[8], ARGV[9]
local devices_at = 9 + 4 * topics
local stamps_at = devices_at + devices
local messages_at = stamps_at + stamps
local apart_at = messages_at + records + 1

local function position(text)
  local offset, output = string.match(text, '^(%d+):(%d+)$')
  return tonumber(offset), tonumber(output)
end

local function after(offset, output, than_offset, than_output)
  return offset > than_offset or (offset == than_offset and output > than_output)
end

-- 1. The guard.
local stored_offset, stored_output, moves, overlaps = {}, {}, {}, false
if guard then
  local fields = {'v', 'e'}
  for t = 1, topics do fields[t + 2] = ARGV[6 + 4 * t] end
  local stored = call('HMGET', guard, unpack(fields))
  if stored[1] and stored[1] ~= '1' then return {'version', stored[1]} end
  if stored[2] and tonumber(stored[2]) > tonumber(epoch) then return {'fenced', stored[2]} end
  for t = 1, topics do
    local at = 6 + 4 * t
    local id, previous, first, last, have = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], stored[t + 2]
    local offset, output = -1, 0
    if have then offset, output = position(have) end
    if previous ~= '' then
      local previous_offset, previous_output = position(previous)
      if after(previous_offset, previous_output, offset, output) then return {'gap', id, have or '', previous} end
    end
    local first_offset, first_output = position(first)
    if not after(first_offset, first_output, offset, output) then overlaps = true end
    local last_offset, last_output = position(last)
    if after(last_offset, last_output, offset, output) then
      moves[#moves + 1] = id
      moves[#moves + 1] = last
    end
    stored_offset[t], stored_output[t] = offset, output
  end
  if #moves == 0 and stored[2] == epoch then return {'already'} end
end

-- 2. What applies, by device: the newest record, the members of the history.
local seconds = {}
for s = 1, stamps do seconds[s] = tonumber(ARGV[stamps_at + s]) end
local device_of, members, filled, newest, last = {}, {}, {}, {}, {}
local place = 1
for r = 1, records do
  local applies = true
  if overlaps then
    local topic, offset, output = struct.unpack('<Bi8I4', positions, 13 * r - 12)
    applies = topic == 0 or after(offset, output, stored_offset[topic], stored_output[topic])
  end
  if applies then
    local d0, d1, d2, s0, s1, s2 = byte(places, place, place + 5)
    local d, s = d0 + 256 * d1 + 65536 * d2 + 1, s0 + 256 * s1 + 65536 * s2 + 1
    local of_device, n = members[d], filled[d]
    if of_device then
      if seconds[s] > newest[d] then newest[d] = seconds[s] end
    else
      of_device, n = {}, 0
      members[d], newest[d] = of_device, seconds[s]
    end
    of_device[n + 1], of_device[n + 2] = ARGV[stamps_at + s], ARGV[messages_at + r]
    filled[d], last[d], device_of[r] = n + 2, r, d
  else
    device_of[r] = false
  end
  place = place + 6
end

-- 3. The types of what is about to be written.
local state_key, history_key, wrong = {}, {}, nil
for d = 1, devices do
  if last[d] then
    local id = ARGV[devices_at + d]
    local state, past = 'device:last_state:' .. id, 'device:history:' .. id
    state_key[d], history_key[d] = state, past
    local state_type, past_type = call('TYPE', state).ok, call('TYPE', past).ok
    if state_type ~= 'hash' and state_type ~= 'none' then
      wrong = wrong or {}
      wrong[d] = state .. ' holds a ' .. state_type .. ', not a hash'
    elseif past_type ~= 'zset' and past_type ~= 'none' then
      wrong = wrong or {}
      wrong[d] = past .. ' holds a ' .. past_type .. ', not a sorted set'
    end
  end
end
if wrong then
  local answer = {'type'}
  for r = 1, records do
    local what = device_of[r] and wrong[device_of[r]]
    if what then
      answer[#answer + 1] = r - 1
      answer[#answer + 1] = what
    end
  end
  return answer
end

-- 4. State and history, one write each a device. A call takes at most some 8000 values from the stack.
local most = 4000
for d = 1, devices do
  local r = last[d]
  if r then
    local start, length = struct.unpack('<I4I4', spans, 8 * r - 7)
    local payload
    if start > 0 then payload = sub(ARGV[messages_at + r], start, start + length - 1)
    else payload = ARGV[apart_at + length] end
    local past, of_device, n = history_key[d], members[d], filled[d]
    call('HSET', state_key[d], 'payload', payload, 'timestamp', of_device[n - 1])
    for at = 1, n, most do call('ZADD', past, unpack(of_device, at, math.min(at + most - 1, n))) end
    call('ZREMRANGEBYSCORE', past, '-inf', string.format('(%.0f', newest[d] - history))
    call('EXPIRE', past, ARGV[2])
  end
end

-- 5. One notification a record, in the order of the log.
local channel = {}
for r = 1, records do
  local d = device_of[r]
  if d then
    local name = channel[d]
    if not name then
      name = 'device-updates:' .. ARGV[devices_at + d]
      channel[d] = name
    end
    call('PUBLISH', name, ARGV[messages_at + r])
  end
end

-- 6. The guard, last.
if guard then call('HSET', guard, 'v', '1', 'e', epoch, unpack(moves)) end
return {'applied'}
