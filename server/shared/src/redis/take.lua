-- Takes a token from one of a site's buckets, as `tokens.rs` does in memory: the same arithmetic on the same numbers.
--
-- KEYS  1 buckets: name -> "CAPACITY REFILL LEVEL AT"   2 full: name by when it is full, in microseconds since 1970
-- ARGV  1 now in microseconds; empty: by this server's clock   2 most buckets   3 name   4 capacity   5 tokens a second
--       6 what rounding may leave missing
-- Gives { 'done', 1 or 0, level } or { 'many', buckets }.
local buckets, full = KEYS[1], KEYS[2]
local most, name, capacity, refill, rounding = tonumber(ARGV[2]), ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])
local most_tokens, rate = tonumber(capacity), tonumber(refill)

local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end

-- A clock that went backwards adds nothing and takes nothing away.
local function level_now(level, at, tokens, a_second)
  return math.min(level + math.max(0, now - at) / 1000000 * a_second, tokens)
end

-- Forgets full buckets: two for each new one, so that they become fewer.
local function make_room()
  for _ = 1, 2 do
    local first = redis.call('ZRANGE', full, 0, 0, 'WITHSCORES')
    if not first[1] or tonumber(first[2]) > now then break end
    redis.call('HDEL', buckets, first[1])
    redis.call('ZREM', full, first[1])
  end
  return redis.call('HLEN', buckets) < most
end

local level, at, changed = most_tokens, now, false
local before = redis.call('HGET', buckets, name)
if before then
  local had, gained, left, since = before:match('^(%S+) (%S+) (%S+) (%S+)$')
  if had == capacity and gained == refill then
    level, at = tonumber(left), tonumber(since)
  else
    -- What it gained until now, it gained at the rate it had.
    level = math.min(level_now(tonumber(left), tonumber(since), tonumber(had), tonumber(gained)), most_tokens)
    changed = true
  end
elseif not make_room() then
  return { 'many', redis.call('HLEN', buckets) }
end

local current = level_now(level, at, most_tokens, rate)
local granted = current >= 1 - rounding
local left = granted and current - 1 or current
-- Who is refused changes nothing, so that asking often does not add up what rounding leaves.
if granted then level, at = left, now end
if granted or changed then
  local missing, full_at = most_tokens - level, at
  if missing > rounding then full_at = at + math.ceil(missing / rate * 1000000 - rounding) end
  redis.call('HSET', buckets, name, string.format('%s %s %.17g %.0f', capacity, refill, level, at))
  redis.call('ZADD', full, full_at == math.huge and '+inf' or string.format('%.0f', full_at), name)
  -- Where every bucket is full, none is needed: nothing is left of a site that nobody asks for any more.
  local last = tonumber(redis.call('ZRANGE', full, -1, -1, 'WITHSCORES')[2])
  for _, each in ipairs(KEYS) do
    -- Further ahead than Redis counts, it is for ever.
    if last < 1e17 then
      redis.call('PEXPIREAT', each, string.format('%.0f', math.ceil(last / 1000) + 1000))
    else
      redis.call('PERSIST', each)
    end
  end
end
return { 'done', granted and 1 or 0, string.format('%.17g', left) }
