-- Brings entries and the offsets that they come from into the view in one atomic step.
-- KEYS: the progress, then the key of each entry.
-- ARGV: generation, order's width, length's width, number of changes to keep, number of positions,
--       (partition, next offset) of each, then (entry, expiry in ms since the epoch) of each key; an empty entry
--       deletes.
-- Returns how many entries changed, or -1, and nothing is done, where the view is not of that generation.
local progress = KEYS[1]
if redis.call('HGET', progress, 'generation') ~= ARGV[1] then
  return -1
end
local order_width, zone_from = tonumber(ARGV[2]), tonumber(ARGV[2]) + tonumber(ARGV[3]) + 1
local argument = 6 + 2 * tonumber(ARGV[5])
local changed = 0

for i = 2, #KEYS do
  local key, entry, expiry = KEYS[i], ARGV[argument], ARGV[argument + 1]
  argument = argument + 2
  if entry == '' then
    changed = changed + redis.call('DEL', key)
  else
    local old = redis.call('GET', key)
    if not old or (old ~= entry and string.sub(old, 1, order_width) <= string.sub(entry, 1, order_width)) then
      redis.call('SET', key, entry, 'PXAT', expiry)
      local family, kind, id = string.match(key, '^hot:([^:]+):([^:]+):(.*)$')
      local zone_to = zone_from - 1 + tonumber(string.sub(entry, order_width + 1, zone_from - 1))
      if not old or string.sub(old, order_width + 1, zone_to) ~= string.sub(entry, order_width + 1, zone_to) then
        local zone = string.sub(entry, zone_from, zone_to)
        if kind == 'sensor' then
          redis.call('ZADD', 'hot:' .. family .. ':members', 0, zone .. '\0' .. id)
        else
          redis.call('ZADD', 'hot:' .. family .. ':zones', 'GT', expiry, zone)
        end
      end
      redis.call('XADD', 'hot:changes:' .. family, 'MAXLEN', '~', ARGV[4], '*', kind, entry)
      changed = changed + 1
    end
  end
end

for i = 6, 5 + 2 * tonumber(ARGV[5]), 2 do
  redis.call('HSET', progress, ARGV[i], ARGV[i + 1])
end
return changed
