-- Takes a guard over for an owner, and reads it. From here on a lower epoch is refused.
--
-- KEYS[1]  the guard      ARGV[1]  epoch
-- Answers  {'guard', field, value, …} | {'version', v} | {'fenced', epoch}
local stored = redis.call('HMGET', KEYS[1], 'v', 'e')
if stored[1] and stored[1] ~= '1' then return {'version', stored[1]} end
if stored[2] and tonumber(stored[2]) > tonumber(ARGV[1]) then return {'fenced', stored[2]} end
redis.call('HSET', KEYS[1], 'v', '1', 'e', ARGV[1])
return {'guard', unpack(redis.call('HGETALL', KEYS[1]))}
