-- Takes a checkpoint over for an owner, and reads its meta. From here on a lower epoch is refused.
--
-- KEYS[1]  the meta   ARGV[1]  the epoch
-- Answers  {'open'} | {'open', meta as JSON} | {'version', v} | {'fenced', epoch}
local stored = redis.call('HMGET', KEYS[1], 'v', 'epoch', 'meta')
if stored[1] and stored[1] ~= '1' then return {'version', stored[1]} end
if stored[2] and tonumber(stored[2]) > tonumber(ARGV[1]) then return {'fenced', stored[2]} end
redis.call('HSET', KEYS[1], 'v', '1', 'epoch', ARGV[1])
return {'open', stored[3] or nil}
