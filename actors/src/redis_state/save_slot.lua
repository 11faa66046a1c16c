-- Writes a slot's record.
--
-- KEYS[1]  the record   ARGV[1]  the epoch   ARGV[2]  the record as JSON
-- Answers  {'saved'} | {'fenced', epoch}
local stored = redis.call('GET', KEYS[1])
if stored then
  local epoch = cjson.decode(stored).epoch
  if epoch and epoch > tonumber(ARGV[1]) then return {'fenced', string.format('%.0f', epoch)} end
end
redis.call('SET', KEYS[1], ARGV[2])
return {'saved'}
