-- Keeps an answer, and lets go of those that were not used for longest, or for too long.
-- KEYS: answers, use, bytes. ARGV: name, answer, now in ms since the epoch, ms that an unused one is kept, most
-- bytes of all, bytes that one takes beside its own.
-- Returns the bytes of all, and how many had to go for this one.
local answers, use, bytes = KEYS[1], KEYS[2], KEYS[3]
local now, keep, most, beside = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])

-- one of the keys was lost, to a Redis that evicts: begin anew, or nothing would be let go of
if redis.call('HLEN', answers) ~= redis.call('ZCARD', use)
  or redis.call('EXISTS', use) ~= redis.call('EXISTS', bytes)
then
  redis.call('DEL', answers, use, bytes)
end

local total = tonumber(redis.call('GET', bytes) or '0')
local function let_go(name)
  total = total - redis.call('HSTRLEN', answers, name) - beside
  redis.call('HDEL', answers, name)
  redis.call('ZREM', use, name)
end

for _, name in ipairs(redis.call('ZRANGE', use, '-inf', now - keep, 'BYSCORE', 'LIMIT', 0, 100)) do
  let_go(name)
end
if redis.call('HEXISTS', answers, ARGV[1]) == 1 then
  let_go(ARGV[1])
end
local gone = 0
while total + #ARGV[2] + beside > most do
  local oldest = redis.call('ZRANGE', use, 0, 0)
  if #oldest == 0 then
    break
  end
  let_go(oldest[1])
  gone = gone + 1
end
redis.call('HSET', answers, ARGV[1], ARGV[2])
redis.call('ZADD', use, now, ARGV[1])
total = total + #ARGV[2] + beside
redis.call('SET', bytes, total)
for _, key in ipairs(KEYS) do
  redis.call('PEXPIRE', key, keep)
end
return {total, gone}
