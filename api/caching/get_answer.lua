-- Returns an answer, and notes that it was used; nothing where there is none.
-- KEYS: answers, use. ARGV: name of the answer, now in ms since the epoch.
local answer = redis.call('HGET', KEYS[1], ARGV[1])
if answer then
  redis.call('ZADD', KEYS[2], 'XX', ARGV[2], ARGV[1])
end
return answer
