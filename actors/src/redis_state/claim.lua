-- Takes the claim on a topology.
--
-- KEYS[1]  the claim   KEYS[2]  the counter of epochs
-- ARGV[1]  the instance   ARGV[2]  the owner as JSON, up to and with the name of the field `epoch`
-- ARGV[3]  the lease in ms   ARGV[4]  the instance that is known to be no more, or nothing
-- Answers  {'claimed', epoch} | {'held', the owner as JSON, ms left of its lease}
local held = redis.call('GET', KEYS[1])
if held then
  local owner = cjson.decode(held)
  if owner.instance == ARGV[1] then
    redis.call('PEXPIRE', KEYS[1], ARGV[3])
    return {'claimed', string.format('%.0f', owner.epoch)}
  end
  if owner.instance ~= ARGV[4] then return {'held', held, redis.call('PTTL', KEYS[1])} end
end
local epoch = string.format('%.0f', redis.call('INCR', KEYS[2]))
redis.call('SET', KEYS[1], ARGV[2] .. epoch .. '}', 'PX', ARGV[3])
return {'claimed', epoch}
