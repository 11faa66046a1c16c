-- Gives a claim up, if it is still the owner's.
--
-- KEYS[1]  the claim   ARGV[1]  the instance
-- Answers  {'released'}
local held = redis.call('GET', KEYS[1])
if held and cjson.decode(held).instance == ARGV[1] then redis.call('DEL', KEYS[1]) end
return {'released'}
