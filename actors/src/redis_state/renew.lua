-- Prolongs a claim; takes it again where it ran out and nobody took it.
--
-- KEYS[1]  the claim   KEYS[2]  the counter of epochs
-- ARGV[1]  the instance   ARGV[2]  the owner as JSON   ARGV[3]  the lease in ms   ARGV[4]  the owner's epoch
-- Answers  {'renewed'} | {'fenced', epoch}
local held = redis.call('GET', KEYS[1])
if held then
  local owner = cjson.decode(held)
  if owner.instance ~= ARGV[1] then return {'fenced', string.format('%.0f', owner.epoch)} end
else
  local newest = redis.call('GET', KEYS[2])
  if newest and tonumber(newest) > tonumber(ARGV[4]) then return {'fenced', newest} end
  -- A counter below ours is that of a server which lost its newest writes: nobody has taken a higher epoch there.
  if newest ~= ARGV[4] then redis.call('SET', KEYS[2], ARGV[4]) end
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return {'renewed'}
