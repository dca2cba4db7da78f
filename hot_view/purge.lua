-- Takes some members that have no reading in that zone any more out of a family's index.
-- KEYS: members, zones. ARGV: prefix of readings' keys, length's first digit, zone's first byte (both counted from
-- 0), last member looked at before, how many to look at, now in ms since the epoch.
-- Returns the last member looked at, or an empty string where there are no more.
local length_from, zone_from = tonumber(ARGV[2]), tonumber(ARGV[3])
local after = ARGV[4] == '' and '-' or '(' .. ARGV[4]
local members = redis.call('ZRANGE', KEYS[1], after, '+', 'BYLEX', 'LIMIT', 0, ARGV[5])
for _, member in ipairs(members) do
  local cut = string.find(member, '\0', 1, true)
  local key = ARGV[1] .. string.sub(member, cut + 1)
  local length = redis.call('GETRANGE', key, length_from, zone_from - 1)
  if length == '' or tonumber(length) ~= cut - 1
    or (cut > 1 and redis.call('GETRANGE', key, zone_from, zone_from + cut - 2) ~= string.sub(member, 1, cut - 1))
  then
    redis.call('ZREM', KEYS[1], member)
  end
end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', ARGV[6])
return #members == tonumber(ARGV[5]) and members[#members] or ''
